"""Starter problems: words, lines and formats."""

#: 1 returns the list of the words of a text; words are separated by spaces.
def split_words(text):
    return text.split()
assert split_words("a few words") == ["a", "few", "words"]
assert split_words("one") == ["one"]
assert split_words("") == []
assert split_words("red green") == ["red", "green"]

#: 1 returns the words of the list joined by single spaces.
def join_words(words):
    return " ".join(words)
assert join_words(["a", "few", "words"]) == "a few words"
assert join_words(["one"]) == "one"
assert join_words([]) == ""
assert join_words(["x", "y"]) == "x y"

#: 1 returns how many words the text has.
def count_words(text):
    return len(text.split())
assert count_words("a few words") == 3
assert count_words("one") == 1
assert count_words("") == 0
assert count_words("to be or not") == 4

#: 1 returns the number n as text.
def number_to_text(n):
    return str(n)
assert number_to_text(42) == "42"
assert number_to_text(-7) == "-7"
assert number_to_text(0) == "0"
assert number_to_text(2.5) == "2.5"

#: 1 returns the whole number that is written in the text.
def text_to_number(text):
    return int(text)
assert text_to_number("42") == 42
assert text_to_number("-7") == -7
assert text_to_number("007") == 7
assert text_to_number("0") == 0

#: 1 returns the text without spaces at its beginning and end.
def trim(text):
    return text.strip()
assert trim("  hi ") == "hi"
assert trim("hi") == "hi"
assert trim("   ") == ""
assert trim(" a b ") == "a b"

#: 1 returns the greeting "Hello, NAME!" with the given name.
def greet(name):
    return "Hello, " + name + "!"
assert greet("Ada") == "Hello, Ada!"
assert greet("Bob") == "Hello, Bob!"
assert greet("") == "Hello, !"
assert greet("you two") == "Hello, you two!"

#: 1 returns True if the text begins with the prefix, otherwise False.
def begins_with(text, prefix):
    return text.startswith(prefix)
assert begins_with("python", "py") == True
assert begins_with("python", "on") == False
assert begins_with("py", "python") == False
assert begins_with("x", "") == True

#: 1 returns the text with every "a" replaced by "b".
def replace_a_with_b(text):
    return text.replace("a", "b")
assert replace_a_with_b("banana") == "bbnbnb"
assert replace_a_with_b("xyz") == "xyz"
assert replace_a_with_b("") == ""
assert replace_a_with_b("Aa") == "Ab"

#: 2 returns the longest word of a text; if several are equally long, the first of them.
def longest_word(text):
    return max(text.split(), key=len)
assert longest_word("a quick fox") == "quick"
assert longest_word("one") == "one"
assert longest_word("aa bb cc") == "aa"
assert longest_word("to be or maybe not") == "maybe"

#: 2 returns the text with the order of its words reversed.
def reverse_words(text):
    return " ".join(reversed(text.split()))
assert reverse_words("one two three") == "three two one"
assert reverse_words("single") == "single"
assert reverse_words("") == ""
assert reverse_words("b a") == "a b"

#: 2 returns the first letters of all words of a text in upper case, without spaces.
def initials(text):
    return "".join(word[0] for word in text.split()).upper()
assert initials("as soon as possible") == "ASAP"
assert initials("Ada Lovelace") == "AL"
assert initials("x") == "X"
assert initials("") == ""

#: 2 returns the text with the first letter of every word in upper case; the other letters stay as they are.
def capitalize_words(text):
    return " ".join(word[0].upper() + word[1:] for word in text.split())
assert capitalize_words("hello world") == "Hello World"
assert capitalize_words("aBC def") == "ABC Def"
assert capitalize_words("x") == "X"
assert capitalize_words("") == ""

#: 2 returns the number n as text of at least the given width, filled up with zeros on the left.
def pad_with_zeros(n, width):
    return str(n).zfill(width)
assert pad_with_zeros(7, 3) == "007"
assert pad_with_zeros(123, 2) == "123"
assert pad_with_zeros(0, 1) == "0"
assert pad_with_zeros(45, 5) == "00045"

#: 2 returns how often the word occurs among the words of the text; upper and lower case are the same.
def count_word(text, word):
    return text.lower().split().count(word.lower())
assert count_word("the cat and the dog", "the") == 2
assert count_word("The end", "the") == 1
assert count_word("other", "the") == 0
assert count_word("", "x") == 0
assert count_word("no No nO", "NO") == 3

#: 3 returns the words of a text in a dictionary, each with the number of times it occurs.
def word_counts(text):
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts
assert word_counts("a b a") == {"a": 2, "b": 1}
assert word_counts("") == {}
assert word_counts("x") == {"x": 1}
assert word_counts("to be or not to be") == {"to": 2, "be": 2, "or": 1, "not": 1}
# timed
assert word_counts("a b " * 500) == {"a": 500, "b": 500}

#: 3 returns a snake_case name as camelCase: the underscores go, and the letter after each is in upper case.
def snake_to_camel(name):
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
assert snake_to_camel("my_long_name") == "myLongName"
assert snake_to_camel("word") == "word"
assert snake_to_camel("a_b") == "aB"
assert snake_to_camel("get_item_at") == "getItemAt"

#: 3 returns the list of all whole numbers that are written in the text, in order. A number is a run of digits; there are no signs.
def numbers_in(text):
    found, digits = [], ""
    for c in text + " ":
        if c.isdigit():
            digits += c
        elif digits:
            found.append(int(digits))
            digits = ""
    return found
assert numbers_in("3 cats and 12 dogs") == [3, 12]
assert numbers_in("none") == []
assert numbers_in("a1b22c333") == [1, 22, 333]
assert numbers_in("007") == [7]
assert numbers_in("") == []

#: 3 returns True if the text is a valid time of day such as "09:30": two digits for the hour from 00 to 23, a colon, two digits for the
#: minute from 00 to 59.
def is_time(text):
    if len(text) != 5 or text[2] != ":" or not (text[:2] + text[3:]).isdigit():
        return False
    return int(text[:2]) < 24 and int(text[3:]) < 60
assert is_time("09:30") == True
assert is_time("24:00") == False
assert is_time("23:59") == True
assert is_time("12:60") == False
assert is_time("9:30") == False
assert is_time("ab:cd") == False
assert is_time("12-30") == False
assert is_time("25:00") == False
assert is_time("12:61") == False
assert is_time("12;30") == False
assert is_time("09:030") == False
assert is_time("09:x0") == False

#: 4 returns True if every bracket in the text, "(" "[" or "{", is closed by its own kind in the right order. Other characters do not
#: matter.
def brackets_match(text):
    closing, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for c in text:
        if c in "([{":
            open_ones.append(c)
        elif c in closing:
            if not open_ones or open_ones.pop() != closing[c]:
                return False
    return not open_ones
assert brackets_match("(a[b]{c})") == True
assert brackets_match("(]") == False
assert brackets_match("((") == False
assert brackets_match("") == True
assert brackets_match("([)]") == False
assert brackets_match(")") == False
assert brackets_match("{)") == False
# timed
assert brackets_match("(" * 1000 + ")" * 1000) == True

#: 4 returns the words of the text in lines of at most width characters: a list of texts. A word goes on the same line while it fits
#: after a space; no word is longer than width.
def wrap_words(text, width):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
assert wrap_words("the quick brown fox", 10) == ["the quick", "brown fox"]
assert wrap_words("a b c", 1) == ["a", "b", "c"]
assert wrap_words("", 5) == []
assert wrap_words("aa bb cc", 5) == ["aa bb", "cc"]
assert wrap_words("aa bbb c", 6) == ["aa bbb", "c"]
assert wrap_words("aa bb", 4) == ["aa", "bb"]

#: 4 returns the value of an expression such as "2 + 3 - 1": whole numbers and the signs + and -, separated by single spaces.
def evaluate_sum(expression):
    parts = expression.split()
    total = int(parts[0])
    for sign, number in zip(parts[1::2], parts[2::2]):
        total += int(number) if sign == "+" else -int(number)
    return total
assert evaluate_sum("2 + 3 - 1") == 4
assert evaluate_sum("7") == 7
assert evaluate_sum("1 - 2 - 3") == -4
assert evaluate_sum("10 + 20 + 30") == 60
assert evaluate_sum("5 - 5") == 0
