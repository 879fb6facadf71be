"""Starter problems: tuples and sets."""

#: 1 returns a tuple of the two values.
def make_pair(a, b):
    return (a, b)
assert make_pair(1, 2) == (1, 2)
assert make_pair("x", 0) == ("x", 0)
assert make_pair(5, 5) == (5, 5)
assert make_pair(2, 1) == (2, 1)

#: 1 returns the tuple with its two elements exchanged.
def swap(pair):
    return (pair[1], pair[0])
assert swap((1, 2)) == (2, 1)
assert swap(("a", "b")) == ("b", "a")
assert swap((3, 3)) == (3, 3)
assert swap((0, "x")) == ("x", 0)

#: 1 returns the set of the elements of the list.
def to_set(items):
    return set(items)
assert to_set([1, 2, 2]) == {1, 2}
assert to_set([]) == set()
assert to_set(["a", "a"]) == {"a"}
assert to_set([3, 1, 2]) == {1, 2, 3}

#: 1 returns the set of all elements that are in a or in b; both are sets.
def union(a, b):
    return a | b
assert union({1, 2}, {2, 3}) == {1, 2, 3}
assert union(set(), {1}) == {1}
assert union({1}, set()) == {1}
assert union({"a"}, {"b"}) == {"a", "b"}

#: 1 returns the set of all elements of a that are not in b; both are sets.
def set_difference(a, b):
    return a - b
assert set_difference({1, 2}, {2, 3}) == {1}
assert set_difference({1}, set()) == {1}
assert set_difference(set(), {1}) == set()
assert set_difference({"a", "b"}, {"a", "b"}) == set()

#: 1 returns the set of all elements that are in a and in b; both are sets.
def intersection(a, b):
    return a & b
assert intersection({1, 2}, {2, 3}) == {2}
assert intersection(set(), {1}) == set()
assert intersection({1, 2}, {1, 2}) == {1, 2}
assert intersection({"a"}, {"b"}) == set()

#: 1 returns the list of the elements of the tuple.
def tuple_to_list(t):
    return list(t)
assert tuple_to_list((1, 2)) == [1, 2]
assert tuple_to_list(()) == []
assert tuple_to_list(("x",)) == ["x"]
assert tuple_to_list((3, 1, 3)) == [3, 1, 3]

#: 1 returns the number of different elements in the list.
def count_different(items):
    return len(set(items))
assert count_different([1, 2, 2]) == 2
assert count_different([]) == 0
assert count_different(["a", "a", "a"]) == 1
assert count_different([3, 1, 2]) == 3

#: 1 returns the product of the two numbers in the tuple.
def pair_product(pair):
    return pair[0] * pair[1]
assert pair_product((3, 4)) == 12
assert pair_product((0, 9)) == 0
assert pair_product((-2, 5)) == -10
assert pair_product((1, 7)) == 7

#: 2 returns True if all elements of the list are different.
def all_different(items):
    return len(set(items)) == len(items)
assert all_different([1, 2, 3]) == True
assert all_different([1, 2, 1]) == False
assert all_different([]) == True
assert all_different(["a", "a"]) == False
# timed
assert all_different(list(range(2000))) == True

#: 2 returns True if every element of the set a is also in the set b.
def is_subset(a, b):
    return a <= b
assert is_subset({1}, {1, 2}) == True
assert is_subset({1, 3}, {1, 2}) == False
assert is_subset(set(), {1}) == True
assert is_subset({1, 2}, {1}) == False
assert is_subset({1, 2}, {1, 2}) == True

#: 2 returns the smallest and the largest number of the list as a tuple.
def min_and_max(numbers):
    return (min(numbers), max(numbers))
assert min_and_max([3, 1, 2]) == (1, 3)
assert min_and_max([5]) == (5, 5)
assert min_and_max([-1, -9]) == (-9, -1)
assert min_and_max([0, 0, 4]) == (0, 4)

#: 2 returns the distance between two points of the plane when one may only go along the axes. A point is a tuple (x, y).
def grid_distance(p, q):
    return abs(p[0] - q[0]) + abs(p[1] - q[1])
assert grid_distance((0, 0), (3, 4)) == 7
assert grid_distance((1, 1), (1, 1)) == 0
assert grid_distance((-1, 2), (1, -2)) == 6
assert grid_distance((5, 0), (2, 0)) == 3

#: 2 returns the sum of two vectors, which are tuples of the same length.
def add_vectors(a, b):
    return tuple(x + y for x, y in zip(a, b))
assert add_vectors((1, 2), (3, 4)) == (4, 6)
assert add_vectors((), ()) == ()
assert add_vectors((1, 2, 3), (-1, -2, -3)) == (0, 0, 0)
assert add_vectors((5,), (6,)) == (11,)

#: 2 returns the elements that both lists have, in ascending order and without repetitions.
def common_elements(a, b):
    return sorted(set(a) & set(b))
assert common_elements([3, 1, 2], [2, 3, 4]) == [2, 3]
assert common_elements([1], [2]) == []
assert common_elements([1, 1, 1], [1, 1]) == [1]
assert common_elements([], [1]) == []
assert common_elements([9, 8], [8, 9]) == [8, 9]
# timed
assert common_elements(list(range(1000)), list(range(500, 1500))) == list(range(500, 1000))

#: 3 returns the missing number in a list that holds all the numbers from 1 to n but one, in any order.
def missing_number(numbers):
    n = len(numbers) + 1
    return n * (n + 1) // 2 - sum(numbers)
assert missing_number([1, 2, 4]) == 3
assert missing_number([2]) == 1
assert missing_number([1]) == 2
assert missing_number([5, 3, 1, 2]) == 4
assert missing_number([1, 2, 3, 4, 5]) == 6
# timed
assert missing_number([n for n in range(1, 2001) if n != 1000]) == 1000

#: 3 returns the elements that are in exactly one of the two lists, in ascending order and without repetitions.
def in_only_one(a, b):
    return sorted(set(a) ^ set(b))
assert in_only_one([1, 2, 3], [2, 3, 4]) == [1, 4]
assert in_only_one([1], [1]) == []
assert in_only_one([], [3, 3, 2]) == [2, 3]
assert in_only_one([7, 7], [8]) == [7, 8]

#: 3 returns the elements that occur at least twice in the list, each once, in ascending order.
def repeated_elements(items):
    return sorted({x for x in items if items.count(x) > 1})
assert repeated_elements([1, 2, 1, 3, 2]) == [1, 2]
assert repeated_elements([1, 2, 3]) == []
assert repeated_elements([]) == []
assert repeated_elements([5, 5, 5]) == [5]
assert repeated_elements([9, 3, 9, 3]) == [3, 9]

#: 3 returns True if the two words have no letter in common.
def no_common_letter(a, b):
    return not set(a) & set(b)
assert no_common_letter("dog", "cat") == True
assert no_common_letter("dog", "god") == False
assert no_common_letter("", "abc") == True
assert no_common_letter("abc", "cde") == False

#: 4 returns True if a word that was written down uses only letters from the pool, each at most as often as the pool has it. Both are
#: texts.
def can_spell(word, pool):
    letters = list(pool)
    for c in word:
        if c not in letters:
            return False
        letters.remove(c)
    return True
assert can_spell("bob", "bobby") == True
assert can_spell("boob", "bobby") == False
assert can_spell("", "x") == True
assert can_spell("abc", "cba") == True
assert can_spell("aab", "ab") == False

#: 4 returns two different places (i, j) with i < j in the list whose numbers add up to the target, or None. If there are several, the
#: one with the smallest j, and among these the smallest i.
def two_sum(numbers, target):
    for j in range(len(numbers)):
        for i in range(j):
            if numbers[i] + numbers[j] == target:
                return (i, j)
    return None
assert two_sum([2, 7, 11], 9) == (0, 1)
assert two_sum([3, 2, 4], 6) == (1, 2)
assert two_sum([1, 2], 5) == None
assert two_sum([3, 3], 6) == (0, 1)
assert two_sum([3], 6) == None
assert two_sum([1, 4, 2, 3], 5) == (0, 1)
# timed
assert two_sum(list(range(300)), 597) == (298, 299)

#: 4 joins overlapping intervals: a list of pairs (start, end) in any order becomes the list of the joined ones in ascending order.
#: Intervals that only touch are joined too.
def join_intervals(intervals):
    out = []
    for start, end in sorted(intervals):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out
assert join_intervals([(1, 3), (2, 5), (7, 8)]) == [(1, 5), (7, 8)]
assert join_intervals([]) == []
assert join_intervals([(4, 6), (1, 4)]) == [(1, 6)]
assert join_intervals([(1, 10), (2, 3)]) == [(1, 10)]
assert join_intervals([(5, 6), (1, 2)]) == [(1, 2), (5, 6)]
