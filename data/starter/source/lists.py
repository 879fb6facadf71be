"""Starter problems: lists."""

#: 1 returns the first element of the list.
def first_element(items):
    return items[0]
assert first_element([4, 5, 6]) == 4
assert first_element(["x"]) == "x"
assert first_element([0, 1]) == 0
assert first_element([[1], [2]]) == [1]

#: 1 returns the largest number in the list.
def max_in_list(numbers):
    return max(numbers)
assert max_in_list([3, 9, 2]) == 9
assert max_in_list([-3, -1, -2]) == -1
assert max_in_list([5]) == 5
assert max_in_list([7, 7, 1]) == 7

#: 1 returns the smallest number in the list.
def min_in_list(numbers):
    return min(numbers)
assert min_in_list([3, 9, 2]) == 2
assert min_in_list([-3, -1, -2]) == -3
assert min_in_list([5]) == 5
assert min_in_list([0, 7, 1]) == 0

#: 1 returns the number of elements in the list.
def list_length(items):
    return len(items)
assert list_length([1, 2, 3]) == 3
assert list_length([]) == 0
assert list_length(["a"]) == 1
assert list_length([0, 0, 0, 0]) == 4

#: 1 returns the list in reverse order.
def reverse_list(items):
    return items[::-1]
assert reverse_list([1, 2, 3]) == [3, 2, 1]
assert reverse_list([]) == []
assert reverse_list(["x"]) == ["x"]
assert reverse_list([1, "a"]) == ["a", 1]

#: 1 returns the sum of the numbers in the list.
def sum_list(numbers):
    return sum(numbers)
assert sum_list([1, 2, 3]) == 6
assert sum_list([]) == 0
assert sum_list([-5, 5]) == 0
assert sum_list([10]) == 10

#: 1 returns the last element of the list.
def last_element(items):
    return items[-1]
assert last_element([4, 5, 6]) == 6
assert last_element(["x"]) == "x"
assert last_element([1, 0]) == 0
assert last_element([[1], [2]]) == [2]

#: 1 returns True if the item is in the list, otherwise False.
def is_in_list(items, item):
    return item in items
assert is_in_list([1, 2, 3], 2) == True
assert is_in_list([1, 2, 3], 5) == False
assert is_in_list([], 1) == False
assert is_in_list(["a"], "a") == True

#: 1 returns a new list with the elements of the list and the item at its end.
def append_item(items, item):
    return items + [item]
assert append_item([1, 2], 3) == [1, 2, 3]
assert append_item([], 1) == [1]
assert append_item(["a"], "a") == ["a", "a"]
assert append_item([1], [2]) == [1, [2]]

#: 2 returns the list of all numbers, each doubled.
def double_all(numbers):
    return [2 * n for n in numbers]
assert double_all([1, 2, 3]) == [2, 4, 6]
assert double_all([]) == []
assert double_all([-1, 0]) == [-2, 0]
assert double_all([0.5]) == [1.0]

#: 2 returns the list of the even numbers in the list, in their order.
def keep_even(numbers):
    return [n for n in numbers if n % 2 == 0]
assert keep_even([1, 2, 3, 4]) == [2, 4]
assert keep_even([1, 3]) == []
assert keep_even([]) == []
assert keep_even([0, -2, 5, 6]) == [0, -2, 6]

#: 2 returns the average of the numbers in a list that is not empty.
def average(numbers):
    return sum(numbers) / len(numbers)
assert average([2, 4, 6]) == 4
assert average([5]) == 5
assert average([1, 2]) == 1.5
assert average([-1, 1, 0, 4]) == 1

#: 2 returns how many numbers in the list are greater than zero.
def count_positive(numbers):
    return sum(n > 0 for n in numbers)
assert count_positive([1, -2, 3]) == 2
assert count_positive([]) == 0
assert count_positive([0, 0]) == 0
assert count_positive([5, 6, 7]) == 3

#: 2 returns every second element of the list, beginning with the first.
def every_second(items):
    return items[::2]
assert every_second([1, 2, 3, 4]) == [1, 3]
assert every_second([1, 2, 3]) == [1, 3]
assert every_second([]) == []
assert every_second(["a", "b", "c", "d", "e"]) == ["a", "c", "e"]

#: 2 returns the list without the elements that equal the given value.
def remove_value(items, value):
    return [x for x in items if x != value]
assert remove_value([1, 2, 1, 3], 1) == [2, 3]
assert remove_value([1], 1) == []
assert remove_value([1, 2], 5) == [1, 2]
assert remove_value(["a", "b", "b"], "b") == ["a"]

#: 3 returns the list without repetitions; of equal elements the first stays.
def unique_in_order(items):
    seen = []
    for x in items:
        if x not in seen:
            seen.append(x)
    return seen
assert unique_in_order([3, 1, 3, 2, 1]) == [3, 1, 2]
assert unique_in_order([]) == []
assert unique_in_order([1, 1, 1]) == [1]
assert unique_in_order(["b", "a", "b"]) == ["b", "a"]
# timed
assert unique_in_order(list(range(400)) * 2) == list(range(400))

#: 3 returns the list turned to the right by n places: the last n elements come to the front. n may be larger than the list is long.
def rotate_right(items, n):
    n = n % len(items) if items else 0
    return items[len(items) - n:] + items[:len(items) - n]
assert rotate_right([1, 2, 3, 4], 1) == [4, 1, 2, 3]
assert rotate_right([1, 2, 3], 0) == [1, 2, 3]
assert rotate_right([1, 2, 3], 5) == [2, 3, 1]
assert rotate_right([], 3) == []
assert rotate_right([1, 2, 3, 4], 2) == [3, 4, 1, 2]

#: 3 returns the list cut into lists of n elements; the last one may be shorter.
def chunks(items, n):
    return [items[i:i + n] for i in range(0, len(items), n)]
assert chunks([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
assert chunks([], 3) == []
assert chunks([1, 2], 5) == [[1, 2]]
assert chunks([1, 2, 3], 1) == [[1], [2], [3]]
assert chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]

#: 3 returns the list of running totals: each element is the sum of all numbers up to it.
def running_totals(numbers):
    out, total = [], 0
    for n in numbers:
        total += n
        out.append(total)
    return out
assert running_totals([1, 2, 3]) == [1, 3, 6]
assert running_totals([]) == []
assert running_totals([5]) == [5]
assert running_totals([1, -1, 4]) == [1, 0, 4]
# timed
assert running_totals(list(range(2000)))[-1] == 1999000

#: 4 returns the largest sum of neighbouring numbers in the list (at least one of them).
def largest_run_sum(numbers):
    best = current = numbers[0]
    for n in numbers[1:]:
        current = max(n, current + n)
        best = max(best, current)
    return best
assert largest_run_sum([1, -3, 4, 2, -1]) == 6
assert largest_run_sum([-5, -2, -8]) == -2
assert largest_run_sum([3]) == 3
assert largest_run_sum([1, 2, 3]) == 6
assert largest_run_sum([5, -9, 6, -2, 3]) == 7
# timed
assert largest_run_sum([1, -1] * 1000 + [5]) == 5

#: 4 returns all elements of a list whose elements may be lists, which may hold lists again, as one flat list in the same order.
def flatten(items):
    out = []
    for x in items:
        if isinstance(x, list):
            out += flatten(x)
        else:
            out.append(x)
    return out
assert flatten([1, [2, 3], [4, [5]]]) == [1, 2, 3, 4, 5]
assert flatten([]) == []
assert flatten([[[1]]]) == [1]
assert flatten([[], [1, []]]) == [1]
assert flatten([1, 2]) == [1, 2]

#: 4 returns all ways to choose two different elements of the list as a list of pairs (tuples), in the order of the list.
def all_pairs(items):
    return [(items[i], items[j]) for i in range(len(items)) for j in range(i + 1, len(items))]
assert all_pairs([1, 2, 3]) == [(1, 2), (1, 3), (2, 3)]
assert all_pairs([1]) == []
assert all_pairs([]) == []
assert all_pairs(["a", "b"]) == [("a", "b")]
assert len(all_pairs([1, 2, 3, 4, 5])) == 10
