"""Starter problems: comparisons and decisions."""

#: 1 returns True if the whole number n is even, otherwise False.
def is_even(n):
    return n % 2 == 0
assert is_even(4) == True
assert is_even(7) == False
assert is_even(0) == True
assert is_even(-3) == False

#: 1 returns True if the whole number n is odd, otherwise False.
def is_odd(n):
    return n % 2 == 1
assert is_odd(5) == True
assert is_odd(8) == False
assert is_odd(0) == False
assert is_odd(-1) == True

#: 1 returns the larger of the two numbers.
def larger(a, b):
    return max(a, b)
assert larger(3, 9) == 9
assert larger(9, 3) == 9
assert larger(-2, -5) == -2
assert larger(4, 4) == 4

#: 1 returns the smaller of the two numbers.
def smaller(a, b):
    return min(a, b)
assert smaller(3, 9) == 3
assert smaller(9, 3) == 3
assert smaller(-2, -5) == -5
assert smaller(6, 6) == 6

#: 1 returns True if n is greater than zero, otherwise False.
def is_positive(n):
    return n > 0
assert is_positive(5) == True
assert is_positive(0) == False
assert is_positive(-3) == False
assert is_positive(0.1) == True

#: 1 returns True if n is less than zero, otherwise False.
def is_negative(n):
    return n < 0
assert is_negative(-1) == True
assert is_negative(0) == False
assert is_negative(8) == False
assert is_negative(-0.5) == True

#: 1 returns True if a and b are equal, otherwise False.
def are_equal(a, b):
    return a == b
assert are_equal(3, 3) == True
assert are_equal(3, 4) == False
assert are_equal("a", "a") == True
assert are_equal([1], [2]) == False
assert are_equal(4, 3) == False

#: 1 returns the absolute value of the number n.
def absolute_value(n):
    return abs(n)
assert absolute_value(-7) == 7
assert absolute_value(7) == 7
assert absolute_value(0) == 0
assert absolute_value(-2.5) == 2.5

#: 1 returns True if the age is at least 18, otherwise False.
def is_adult(age):
    return age >= 18
assert is_adult(20) == True
assert is_adult(18) == True
assert is_adult(17) == False
assert is_adult(0) == False

#: 2 returns the largest of the three numbers.
def largest_of_three(a, b, c):
    return max(a, b, c)
assert largest_of_three(1, 5, 3) == 5
assert largest_of_three(9, 2, 4) == 9
assert largest_of_three(1, 2, 3) == 3
assert largest_of_three(-1, -5, -3) == -1

#: 2 returns -1 if n is negative, 1 if n is positive and 0 if n is zero.
def sign(n):
    if n > 0:
        return 1
    return -1 if n < 0 else 0
assert sign(-8) == -1
assert sign(12) == 1
assert sign(0) == 0
assert sign(0.5) == 1

#: 2 returns n, but never less than low and never more than high.
def clamp(n, low, high):
    return max(low, min(n, high))
assert clamp(15, 0, 10) == 10
assert clamp(-4, 0, 10) == 0
assert clamp(7, 0, 10) == 7
assert clamp(10, 0, 10) == 10
assert clamp(3, 5, 8) == 5

#: 2 returns True if n lies between low and high, both ends included.
def is_between(n, low, high):
    return low <= n <= high
assert is_between(5, 1, 10) == True
assert is_between(1, 1, 10) == True
assert is_between(10, 1, 10) == True
assert is_between(11, 1, 10) == False
assert is_between(0, 1, 10) == False

#: 2 returns True if exactly one of the two booleans is True.
def exactly_one(a, b):
    return a != b
assert exactly_one(True, False) == True
assert exactly_one(False, True) == True
assert exactly_one(True, True) == False
assert exactly_one(False, False) == False

#: 2 returns True if the year is a leap year: divisible by 4, but not by 100 unless also by 400.
def is_leap_year(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
assert is_leap_year(2024) == True
assert is_leap_year(2023) == False
assert is_leap_year(1900) == False
assert is_leap_year(2000) == True
assert is_leap_year(2100) == False

#: 3 returns "equilateral", "isosceles" or "scalene" for a triangle with these side lengths.
def triangle_kind(a, b, c):
    different = len({a, b, c})
    return {1: "equilateral", 2: "isosceles", 3: "scalene"}[different]
assert triangle_kind(3, 3, 3) == "equilateral"
assert triangle_kind(3, 4, 3) == "isosceles"
assert triangle_kind(3, 4, 5) == "scalene"
assert triangle_kind(5, 5, 8) == "isosceles"
assert triangle_kind(7, 2, 2) == "isosceles"

#: 3 returns a grade for a score from 0 to 100: "A" from 90, "B" from 80, "C" from 70, otherwise "F".
def grade(score):
    for letter, least in (("A", 90), ("B", 80), ("C", 70)):
        if score >= least:
            return letter
    return "F"
assert grade(95) == "A"
assert grade(90) == "A"
assert grade(89) == "B"
assert grade(80) == "B"
assert grade(70) == "C"
assert grade(69) == "F"
assert grade(0) == "F"

#: 3 returns "Fizz" if n is divisible by 3, "Buzz" if by 5, "FizzBuzz" if by both, otherwise the number as text.
def fizz_buzz(n):
    text = "Fizz" * (n % 3 == 0) + "Buzz" * (n % 5 == 0)
    return text or str(n)
assert fizz_buzz(9) == "Fizz"
assert fizz_buzz(10) == "Buzz"
assert fizz_buzz(30) == "FizzBuzz"
assert fizz_buzz(7) == "7"
assert fizz_buzz(15) == "FizzBuzz"

#: 3 returns the number of days in the month (1 to 12) of a year; February has 29 days if leap is True.
def days_in_month(month, leap):
    if month == 2:
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31
assert days_in_month(1, False) == 31
assert days_in_month(2, False) == 28
assert days_in_month(2, True) == 29
assert days_in_month(4, False) == 30
assert days_in_month(6, True) == 30
assert days_in_month(8, False) == 31
assert days_in_month(9, False) == 30
assert days_in_month(11, False) == 30
assert days_in_month(12, True) == 31

#: 4 returns the tax on an income: nothing for the first 10000, 20 percent of what lies between 10000 and 50000, and 40 percent of what
#: lies above.
def income_tax(income):
    middle = max(0, min(income, 50000) - 10000)
    top = max(0, income - 50000)
    return (middle * 20 + top * 40) / 100
assert income_tax(30000) == 4000
assert income_tax(10000) == 0
assert income_tax(5000) == 0
assert income_tax(50000) == 8000
assert income_tax(60000) == 12000
assert income_tax(10100) == 20
assert income_tax(10001) == 0.2

#: 4 returns the winner of a game of rock, paper, scissors: 1, 2, or 0 for a draw. The arguments are what the two players show; "rock"
#: beats "scissors", "scissors" beats "paper", "paper" beats "rock".
def rock_paper_scissors(first, second):
    if first == second:
        return 0
    beats = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
    return 1 if beats[first] == second else 2
assert rock_paper_scissors("rock", "scissors") == 1
assert rock_paper_scissors("scissors", "rock") == 2
assert rock_paper_scissors("paper", "paper") == 0
assert rock_paper_scissors("paper", "rock") == 1
assert rock_paper_scissors("paper", "scissors") == 2
assert rock_paper_scissors("scissors", "paper") == 1
assert rock_paper_scissors("rock", "paper") == 2

#: 4 returns True if two meetings overlap. Each is a pair (start, end) in minutes, and one that begins when the other ends does not
#: overlap it.
def meetings_overlap(a, b):
    return a[0] < b[1] and b[0] < a[1]
assert meetings_overlap((60, 120), (90, 150)) == True
assert meetings_overlap((60, 120), (120, 150)) == False
assert meetings_overlap((120, 150), (60, 120)) == False
assert meetings_overlap((0, 500), (100, 200)) == True
assert meetings_overlap((100, 200), (0, 500)) == True
assert meetings_overlap((0, 10), (20, 30)) == False
assert meetings_overlap((20, 30), (0, 10)) == False
