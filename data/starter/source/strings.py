"""Starter problems: strings, character by character."""

#: 1 returns the length of the text.
def text_length(text):
    return len(text)
assert text_length("hello") == 5
assert text_length("") == 0
assert text_length("a b") == 3
assert text_length("0123456789") == 10

#: 1 returns the text in upper case.
def to_upper(text):
    return text.upper()
assert to_upper("hello") == "HELLO"
assert to_upper("Abc1") == "ABC1"
assert to_upper("") == ""
assert to_upper("two words") == "TWO WORDS"

#: 1 returns the text in lower case.
def to_lower(text):
    return text.lower()
assert to_lower("HELLO") == "hello"
assert to_lower("Abc1") == "abc1"
assert to_lower("") == ""
assert to_lower("Two Words") == "two words"

#: 1 returns the text reversed.
def reverse_text(text):
    return text[::-1]
assert reverse_text("abc") == "cba"
assert reverse_text("") == ""
assert reverse_text("level") == "level"
assert reverse_text("ab cd") == "dc ba"

#: 1 returns the first character of the text.
def first_character(text):
    return text[0]
assert first_character("hello") == "h"
assert first_character("Z") == "Z"
assert first_character("42") == "4"
assert first_character(" x") == " "

#: 1 returns True if the text is empty, otherwise False.
def is_empty_text(text):
    return text == ""
assert is_empty_text("") == True
assert is_empty_text("a") == False
assert is_empty_text(" ") == False
assert is_empty_text("0") == False

#: 1 returns the two texts joined together, a first.
def join_texts(a, b):
    return a + b
assert join_texts("foo", "bar") == "foobar"
assert join_texts("", "x") == "x"
assert join_texts("x", "") == "x"
assert join_texts("b", "a") == "ba"

#: 1 returns the last character of the text.
def last_character(text):
    return text[-1]
assert last_character("hello") == "o"
assert last_character("Z") == "Z"
assert last_character("42") == "2"
assert last_character("end.") == "."

#: 1 returns the text repeated n times.
def repeat_text(text, n):
    return text * n
assert repeat_text("ab", 3) == "ababab"
assert repeat_text("x", 0) == ""
assert repeat_text("no ", 1) == "no "
assert repeat_text("-", 5) == "-----"

#: 1 returns True if the text contains the word, otherwise False.
def contains(text, word):
    return word in text
assert contains("hello world", "world") == True
assert contains("hello world", "moon") == False
assert contains("abc", "") == True
assert contains("ab", "abc") == False

#: 2 returns how many vowels (a, e, i, o, u) the text has, counting upper case letters too.
def count_vowels(text):
    return sum(c in "aeiou" for c in text.lower())
assert count_vowels("hello") == 2
assert count_vowels("") == 0
assert count_vowels("AEIOU xyz") == 5
assert count_vowels("rhythm") == 0

#: 2 returns True if the text reads the same forwards and backwards.
def is_palindrome(text):
    return text == text[::-1]
assert is_palindrome("level") == True
assert is_palindrome("hello") == False
assert is_palindrome("") == True
assert is_palindrome("ab") == False
assert is_palindrome("abba") == True
assert is_palindrome("ba") == False

#: 2 returns the text without its spaces.
def remove_spaces(text):
    return text.replace(" ", "")
assert remove_spaces("a b c") == "abc"
assert remove_spaces("  x  ") == "x"
assert remove_spaces("none") == "none"
assert remove_spaces("   ") == ""

#: 2 returns how often the character occurs in the text.
def count_character(text, character):
    return text.count(character)
assert count_character("banana", "a") == 3
assert count_character("banana", "z") == 0
assert count_character("", "a") == 0
assert count_character("Aa", "a") == 1

#: 2 returns the middle character of a text of odd length.
def middle_character(text):
    return text[len(text) // 2]
assert middle_character("abc") == "b"
assert middle_character("x") == "x"
assert middle_character("12345") == "3"
assert middle_character("abcdefg") == "d"

#: 2 returns the text without its first and its last character.
def strip_ends(text):
    return text[1:-1]
assert strip_ends("hello") == "ell"
assert strip_ends("ab") == ""
assert strip_ends("[x]") == "x"
assert strip_ends("12345") == "234"

#: 3 returns True if the two texts are anagrams: the same letters, each as often, in any order. Upper and lower case are the same.
def are_anagrams(a, b):
    return sorted(a.lower()) == sorted(b.lower())
assert are_anagrams("listen", "silent") == True
assert are_anagrams("abc", "abd") == False
assert are_anagrams("aab", "abb") == False
assert are_anagrams("Dusty", "study") == True
assert are_anagrams("ab", "abc") == False
assert are_anagrams("abd", "abc") == False

#: 3 returns the text with every run of equal characters replaced by one of them.
def squeeze(text):
    return "".join(c for i, c in enumerate(text) if i == 0 or c != text[i - 1])
assert squeeze("aaabbc") == "abc"
assert squeeze("") == ""
assert squeeze("abab") == "abab"
assert squeeze("mississippi") == "misisipi"
assert squeeze("zzzz") == "z"

#: 3 returns the first character of the text that occurs only once, or None if there is none.
def first_unique(text):
    for c in text:
        if text.count(c) == 1:
            return c
    return None
assert first_unique("swiss") == "w"
assert first_unique("aabb") == None
assert first_unique("") == None
assert first_unique("abcab") == "c"
assert first_unique("x") == "x"
# timed
assert first_unique("ab" * 200 + "c") == "c"

#: 3 returns the text with every letter moved by n places in the alphabet, from "z" on to "a". All letters are lower case; other
#: characters stay.
def shift_letters(text, n):
    return "".join(chr((ord(c) - 97 + n) % 26 + 97) if "a" <= c <= "z" else c for c in text)
assert shift_letters("abc", 1) == "bcd"
assert shift_letters("xyz", 3) == "abc"
assert shift_letters("a b!", 2) == "c d!"
assert shift_letters("hello", 0) == "hello"
assert shift_letters("b", -2) == "z"

#: 4 returns the text with runs of equal characters written as the character and the length of the run, for example "aab" as "a2b1".
def run_lengths(text):
    out, i = "", 0
    while i < len(text):
        j = i
        while j < len(text) and text[j] == text[i]:
            j += 1
        out += text[i] + str(j - i)
        i = j
    return out
assert run_lengths("aab") == "a2b1"
assert run_lengths("") == ""
assert run_lengths("abc") == "a1b1c1"
assert run_lengths("zzzzzzzzzzzz") == "z12"
assert run_lengths("aabaa") == "a2b1a2"

#: 4 returns the longest palindrome inside the text; of several equally long ones the first.
def longest_palindrome(text):
    best = ""
    for i in range(len(text)):
        for j in range(i + 1, len(text) + 1):
            part = text[i:j]
            if part == part[::-1] and len(part) > len(best):
                best = part
    return best
assert longest_palindrome("babad") == "bab"
assert longest_palindrome("cbbd") == "bb"
assert longest_palindrome("abc") == "a"
assert longest_palindrome("") == ""
assert longest_palindrome("xracecary") == "racecar"
# timed
assert longest_palindrome("a" * 40) == "a" * 40

#: 4 returns the longest text that occurs inside both a and b. If there are several of that length, the one that comes first in a.
def common_substring(a, b):
    best = ""
    for i in range(len(a)):
        for j in range(i + 1, len(a) + 1):
            if j - i > len(best) and a[i:j] in b:
                best = a[i:j]
    return best
assert common_substring("abcdef", "zcdex") == "cde"
assert common_substring("abc", "xyz") == ""
assert common_substring("banana", "ananas") == "anana"
assert common_substring("ab", "ba") == "a"
assert common_substring("", "abc") == ""
