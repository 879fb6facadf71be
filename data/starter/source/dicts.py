"""Starter problems: dictionaries."""

#: 1 returns the value that the dictionary has for the key.
def get_value(d, key):
    return d[key]
assert get_value({"a": 1, "b": 2}, "a") == 1
assert get_value({"a": 1, "b": 2}, "b") == 2
assert get_value({5: "five"}, 5) == "five"
assert get_value({"x": None}, "x") == None

#: 1 returns the number of entries in the dictionary.
def count_entries(d):
    return len(d)
assert count_entries({"a": 1, "b": 2}) == 2
assert count_entries({}) == 0
assert count_entries({1: 1}) == 1
assert count_entries({1: 0, 2: 0, 3: 0}) == 3

#: 1 returns the values of the dictionary as a list.
def list_values(d):
    return list(d.values())
assert list_values({"a": 1, "b": 2}) == [1, 2]
assert list_values({}) == []
assert list_values({3: "x"}) == ["x"]
assert list_values({"a": 5, "b": 5}) == [5, 5]

#: 1 returns the keys of the dictionary as a list.
def list_keys(d):
    return list(d)
assert list_keys({"a": 1, "b": 2}) == ["a", "b"]
assert list_keys({}) == []
assert list_keys({3: "x"}) == [3]
assert list_keys({"z": 0, "y": 1}) == ["z", "y"]

#: 1 returns True if the dictionary has the key, otherwise False.
def has_key(d, key):
    return key in d
assert has_key({"a": 1}, "a") == True
assert has_key({"a": 1}, "b") == False
assert has_key({}, "a") == False
assert has_key({"a": None}, "a") == True

#: 1 returns the sum of the values of the dictionary.
def sum_values(d):
    return sum(d.values())
assert sum_values({"a": 1, "b": 2}) == 3
assert sum_values({}) == 0
assert sum_values({"x": -4}) == -4
assert sum_values({1: 10, 2: 20, 3: 30}) == 60

#: 1 returns the largest value in the dictionary.
def largest_value(d):
    return max(d.values())
assert largest_value({"a": 1, "b": 7}) == 7
assert largest_value({"a": -1}) == -1
assert largest_value({9: 2, 1: 3}) == 3
assert largest_value({"x": 0, "y": -5}) == 0

#: 1 returns True if the dictionary is empty, otherwise False.
def is_empty(d):
    return len(d) == 0
assert is_empty({}) == True
assert is_empty({"a": 1}) == False
assert is_empty({0: 0}) == False
assert is_empty({None: None}) == False

#: 1 returns a dictionary with the single entry key: value.
def make_entry(key, value):
    return {key: value}
assert make_entry("a", 1) == {"a": 1}
assert make_entry(1, "a") == {1: "a"}
assert make_entry("x", []) == {"x": []}
assert make_entry("k", "k") == {"k": "k"}

#: 2 returns the value for the key, or the default if the dictionary does not have the key.
def get_or_default(d, key, default):
    return d.get(key, default)
assert get_or_default({"a": 1}, "a", 0) == 1
assert get_or_default({"a": 1}, "b", 0) == 0
assert get_or_default({}, "x", "none") == "none"
assert get_or_default({"a": 0}, "a", 9) == 0

#: 2 returns a new dictionary with keys and values exchanged.
def invert(d):
    return {v: k for k, v in d.items()}
assert invert({"a": 1, "b": 2}) == {1: "a", 2: "b"}
assert invert({}) == {}
assert invert({3: "x"}) == {"x": 3}
assert invert({"one": "1"}) == {"1": "one"}

#: 2 returns a dictionary that has the elements of the first list as keys and those of the second list as values.
def from_lists(keys, values):
    return dict(zip(keys, values))
assert from_lists(["a", "b"], [1, 2]) == {"a": 1, "b": 2}
assert from_lists([], []) == {}
assert from_lists([1], ["x"]) == {1: "x"}
assert from_lists(["x", "y", "z"], [3, 2, 1]) == {"x": 3, "y": 2, "z": 1}

#: 2 returns the keys of the dictionary in ascending order, as a list.
def sorted_keys(d):
    return sorted(d)
assert sorted_keys({"b": 1, "a": 2}) == ["a", "b"]
assert sorted_keys({}) == []
assert sorted_keys({3: 0, 1: 0, 2: 0}) == [1, 2, 3]
assert sorted_keys({"x": 5}) == ["x"]

#: 2 returns a new dictionary with the entries whose value is at least the limit.
def at_least(d, limit):
    return {k: v for k, v in d.items() if v >= limit}
assert at_least({"a": 1, "b": 5}, 3) == {"b": 5}
assert at_least({"a": 3}, 3) == {"a": 3}
assert at_least({"a": 1}, 3) == {}
assert at_least({}, 0) == {}

#: 2 returns the key with the largest value; all values are different.
def key_of_largest(d):
    return max(d, key=d.get)
assert key_of_largest({"a": 1, "b": 5, "c": 3}) == "b"
assert key_of_largest({"x": -1}) == "x"
assert key_of_largest({"z": 2, "a": 1}) == "z"
assert key_of_largest({1: 10, 2: 20}) == 2

#: 3 returns a dictionary with the elements of the list as keys and how often each occurs as values.
def count_each(items):
    counts = {}
    for x in items:
        counts[x] = counts.get(x, 0) + 1
    return counts
assert count_each(["a", "b", "a"]) == {"a": 2, "b": 1}
assert count_each([]) == {}
assert count_each([1, 1, 1]) == {1: 3}
assert count_each([1, 2, 2, 3]) == {1: 1, 2: 2, 3: 1}
# timed
assert count_each([1, 2] * 1000) == {1: 1000, 2: 1000}

#: 3 returns the words grouped by their first letter: a dictionary from letter to the list of its words, in their order.
def group_by_first_letter(words):
    groups = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    return groups
assert group_by_first_letter(["apple", "bean", "ant"]) == {"a": ["apple", "ant"], "b": ["bean"]}
assert group_by_first_letter([]) == {}
assert group_by_first_letter(["x"]) == {"x": ["x"]}
assert group_by_first_letter(["b", "a", "bb"]) == {"b": ["b", "bb"], "a": ["a"]}

#: 3 returns one dictionary with the entries of both; where both have a key, the values are added.
def merge_adding(a, b):
    out = dict(a)
    for key, value in b.items():
        out[key] = out.get(key, 0) + value
    return out
assert merge_adding({"x": 1, "y": 2}, {"y": 3, "z": 4}) == {"x": 1, "y": 5, "z": 4}
assert merge_adding({}, {"a": 1}) == {"a": 1}
assert merge_adding({"a": 1}, {}) == {"a": 1}
assert merge_adding({"a": 1}, {"a": 1}) == {"a": 2}

#: 3 returns the total price of a shopping list: a dictionary from item to how many, and one from item to its price. Items without a
#: price cost nothing.
def total_price(amounts, prices):
    return sum(n * prices.get(item, 0) for item, n in amounts.items())
assert total_price({"apple": 2, "pear": 1}, {"apple": 3, "pear": 4}) == 10
assert total_price({}, {"apple": 3}) == 0
assert total_price({"kiwi": 5}, {"apple": 3}) == 0
assert total_price({"a": 1, "b": 10}, {"a": 7, "b": 1}) == 17

#: 4 returns the element that occurs most often in the list; of several the one that comes first in the list.
def most_common(items):
    best = None
    for x in items:
        if best is None or items.count(x) > items.count(best):
            best = x
    return best
assert most_common([1, 2, 2, 3]) == 2
assert most_common(["a", "b"]) == "a"
assert most_common([3, 1, 1, 3]) == 3
assert most_common(["x"]) == "x"
assert most_common([5, 6, 7, 7, 6, 7]) == 7
# timed
assert most_common(list(range(300)) + [7]) == 7

#: 4 returns the value that a list of keys leads to in a dictionary of dictionaries, or None where a key is missing.
def lookup_path(d, path):
    for key in path:
        if not isinstance(d, dict) or key not in d:
            return None
        d = d[key]
    return d
assert lookup_path({"a": {"b": 1}}, ["a", "b"]) == 1
assert lookup_path({"a": {"b": 1}}, ["a", "c"]) == None
assert lookup_path({"a": 1}, ["a", "b"]) == None
assert lookup_path({"a": 1}, []) == {"a": 1}
assert lookup_path({"x": {"y": {"z": "deep"}}}, ["x", "y", "z"]) == "deep"

#: 4 returns all people that someone knows, directly or through others, in alphabetical order and without the person. The dictionary has
#: for each person the list of those that he or she knows.
def reachable(knows, person):
    found, waiting = set(), [person]
    while waiting:
        for other in knows.get(waiting.pop(), []):
            if other not in found and other != person:
                found.add(other)
                waiting.append(other)
    return sorted(found)
assert reachable({"ann": ["bob"], "bob": ["cid"]}, "ann") == ["bob", "cid"]
assert reachable({"ann": ["bob"], "bob": ["ann"]}, "ann") == ["bob"]
assert reachable({}, "ann") == []
assert reachable({"a": ["c", "b"], "c": ["d"], "e": ["a"]}, "a") == ["b", "c", "d"]
assert reachable({"a": ["b"], "b": ["b", "c"], "c": ["a"]}, "a") == ["b", "c"]
