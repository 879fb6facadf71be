"""Starter problems: sorting and searching."""

#: 1 returns the list sorted in ascending order.
def sort_ascending(items):
    return sorted(items)
assert sort_ascending([3, 1, 2]) == [1, 2, 3]
assert sort_ascending([]) == []
assert sort_ascending([5, 5, 1]) == [1, 5, 5]
assert sort_ascending(["b", "a"]) == ["a", "b"]

#: 1 returns the list sorted in descending order.
def sort_descending(items):
    return sorted(items, reverse=True)
assert sort_descending([3, 1, 2]) == [3, 2, 1]
assert sort_descending([]) == []
assert sort_descending([5, 1, 5]) == [5, 5, 1]
assert sort_descending(["a", "b"]) == ["b", "a"]

#: 1 returns the place of the item in the list, counted from 0. The item is in the list.
def find_place(items, item):
    return items.index(item)
assert find_place([4, 5, 6], 5) == 1
assert find_place(["x"], "x") == 0
assert find_place([1, 2, 1], 1) == 0
assert find_place([9, 8, 7], 7) == 2

#: 1 returns how many times the item is in the list.
def count_item(items, item):
    return items.count(item)
assert count_item([1, 2, 1], 1) == 2
assert count_item([], 1) == 0
assert count_item(["a", "b"], "c") == 0
assert count_item([7, 7, 7], 7) == 3

#: 1 returns the element of the list at the given place, counted from 0.
def element_at(items, place):
    return items[place]
assert element_at([4, 5, 6], 1) == 5
assert element_at(["x"], 0) == "x"
assert element_at([1, 2, 3], 2) == 3
assert element_at([9, 8], 0) == 9

#: 1 returns the first n elements of the list.
def first_n(items, n):
    return items[:n]
assert first_n([1, 2, 3], 2) == [1, 2]
assert first_n([1, 2], 0) == []
assert first_n([1], 5) == [1]
assert first_n(["a", "b", "c"], 1) == ["a"]

#: 1 returns the list without its first element.
def without_first(items):
    return items[1:]
assert without_first([1, 2, 3]) == [2, 3]
assert without_first([1]) == []
assert without_first(["a", "b"]) == ["b"]
assert without_first([0, 0]) == [0]

#: 1 returns the list without its last element.
def without_last(items):
    return items[:-1]
assert without_last([1, 2, 3]) == [1, 2]
assert without_last([1]) == []
assert without_last(["a", "b"]) == ["a"]
assert without_last([0, 0]) == [0]

#: 1 returns the letters of the word in alphabetical order, as a text.
def sort_letters(word):
    return "".join(sorted(word))
assert sort_letters("cab") == "abc"
assert sort_letters("") == ""
assert sort_letters("aba") == "aab"
assert sort_letters("zyx") == "xyz"

#: 2 returns the words sorted by their length, the shortest first; words of the same length keep their order.
def sort_by_length(words):
    return sorted(words, key=len)
assert sort_by_length(["ccc", "a", "bb"]) == ["a", "bb", "ccc"]
assert sort_by_length([]) == []
assert sort_by_length(["b", "a"]) == ["b", "a"]
assert sort_by_length(["xx", "z", "yy"]) == ["z", "xx", "yy"]

#: 2 returns True if the list is sorted in ascending order; equal neighbours are allowed.
def is_sorted(items):
    return items == sorted(items)
assert is_sorted([1, 2, 2, 3]) == True
assert is_sorted([2, 1]) == False
assert is_sorted([]) == True
assert is_sorted([1, 3, 2]) == False
assert is_sorted([5]) == True
# timed
assert is_sorted(list(range(3000))) == True

#: 2 returns the n largest numbers of the list in descending order.
def n_largest(numbers, n):
    return sorted(numbers, reverse=True)[:n]
assert n_largest([4, 1, 9, 7], 2) == [9, 7]
assert n_largest([1, 2], 0) == []
assert n_largest([1, 2], 5) == [2, 1]
assert n_largest([3, 3, 1], 2) == [3, 3]

#: 2 returns the place of the largest number in the list, counted from 0; of several the first.
def place_of_largest(numbers):
    return numbers.index(max(numbers))
assert place_of_largest([3, 9, 2]) == 1
assert place_of_largest([5]) == 0
assert place_of_largest([1, 7, 7]) == 1
assert place_of_largest([-4, -2, -1]) == 2

#: 2 returns a list of pairs (name, age) sorted by age, the youngest first.
def sort_by_age(people):
    return sorted(people, key=lambda p: p[1])
assert sort_by_age([("ann", 30), ("bob", 20)]) == [("bob", 20), ("ann", 30)]
assert sort_by_age([]) == []
assert sort_by_age([("x", 1)]) == [("x", 1)]
assert sort_by_age([("a", 9), ("b", 2), ("c", 5)]) == [("b", 2), ("c", 5), ("a", 9)]

#: 2 returns the list of all places, counted from 0, at which the item is in the list.
def all_places(items, item):
    return [i for i, x in enumerate(items) if x == item]
assert all_places([1, 2, 1], 1) == [0, 2]
assert all_places([1, 2], 3) == []
assert all_places([], 1) == []
assert all_places(["a", "a", "a"], "a") == [0, 1, 2]
assert all_places([4, 5, 6], 6) == [2]

#: 3 returns the second largest of the different numbers in the list, or None if there are fewer than two.
def second_largest(numbers):
    different = sorted(set(numbers))
    return different[-2] if len(different) > 1 else None
assert second_largest([4, 9, 7]) == 7
assert second_largest([5, 5]) == None
assert second_largest([1, 2]) == 1
assert second_largest([8, 8, 3, 8]) == 3
assert second_largest([]) == None

#: 3 returns the median of a list that is not empty: the middle number in ascending order, or the average of the two in the middle.
def median(numbers):
    ordered, half = sorted(numbers), len(numbers) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2
assert median([3, 1, 2]) == 2
assert median([4, 1, 3, 2]) == 2.5
assert median([7]) == 7
assert median([1, 9]) == 5
assert median([5, 5, 1, 9, 8]) == 5

#: 3 merges two lists that are sorted in ascending order into one that is, too.
def merge_sorted(a, b):
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            out.append(a[i])
            i += 1
        else:
            out.append(b[j])
            j += 1
    return out + a[i:] + b[j:]
assert merge_sorted([1, 4], [2, 3]) == [1, 2, 3, 4]
assert merge_sorted([], [1]) == [1]
assert merge_sorted([1, 2], []) == [1, 2]
assert merge_sorted([1, 1], [1]) == [1, 1, 1]
assert merge_sorted([5, 6], [1, 2]) == [1, 2, 5, 6]
# timed
assert merge_sorted(list(range(0, 2000, 2)), list(range(1, 2000, 2))) == list(range(2000))

#: 3 returns the numbers of the list with all even ones before all odd ones; otherwise they keep their order.
def even_first(numbers):
    return sorted(numbers, key=lambda n: n % 2)
assert even_first([1, 2, 3, 4]) == [2, 4, 1, 3]
assert even_first([]) == []
assert even_first([5, 3]) == [5, 3]
assert even_first([3, 8, 2]) == [8, 2, 3]
assert even_first([7, 0, 7]) == [0, 7, 7]

#: 4 returns the place at which a value stands in a list that is sorted in ascending order, or -1. Use few comparisons even for very
#: long lists; all elements are different.
def binary_search(numbers, value):
    low, high = 0, len(numbers) - 1
    while low <= high:
        middle = (low + high) // 2
        if numbers[middle] == value:
            return middle
        if numbers[middle] < value:
            low = middle + 1
        else:
            high = middle - 1
    return -1
assert binary_search([1, 3, 5, 7], 5) == 2
assert binary_search([1, 3, 5, 7], 4) == -1
assert binary_search([], 1) == -1
assert binary_search([2], 2) == 0
assert binary_search([1, 3, 5, 7], 7) == 3
assert binary_search([1, 3, 5, 7], 1) == 0
assert binary_search(list(range(0, 1000, 2)), 998) == 499

#: 4 returns the names from a list of pairs (name, points), the most points first; names with the same number of points in alphabetical
#: order.
def ranking(scores):
    return [name for name, points in sorted(scores, key=lambda s: (-s[1], s[0]))]
assert ranking([("bob", 5), ("ann", 5), ("cid", 9)]) == ["cid", "ann", "bob"]
assert ranking([]) == []
assert ranking([("x", 0)]) == ["x"]
assert ranking([("a", 1), ("b", 2), ("c", 3)]) == ["c", "b", "a"]
assert ranking([("z", 7), ("y", 7)]) == ["y", "z"]

#: 4 returns how many pairs of places i < j there are in the list with the number at i greater than the one at j.
def count_inversions(numbers):
    return sum(numbers[i] > numbers[j] for j in range(len(numbers)) for i in range(j))
assert count_inversions([2, 1, 3]) == 1
assert count_inversions([3, 2, 1]) == 3
assert count_inversions([1, 2, 3]) == 0
assert count_inversions([]) == 0
assert count_inversions([2, 2, 1]) == 2
assert count_inversions([4, 1, 3, 2]) == 4
# timed
assert count_inversions(list(range(300, 0, -1))) == 44850
