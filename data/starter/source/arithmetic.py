"""Starter problems: arithmetic. Format: nbs/04_tasks.ipynb. Difficulty 1 is one expression, 4 a small algorithm."""

#: 1 returns the sum of the two numbers.
def add_numbers(a, b):
    return a + b
assert add_numbers(2, 3) == 5
assert add_numbers(0, 0) == 0
assert add_numbers(-4, 1) == -3
assert add_numbers(2.5, 0.25) == 2.75

#: 1 returns the first number minus the second.
def subtract(a, b):
    return a - b
assert subtract(7, 3) == 4
assert subtract(3, 7) == -4
assert subtract(0, 5) == -5
assert subtract(10, 0) == 10

#: 1 returns the square of the number n.
def square(n):
    return n * n
assert square(4) == 16
assert square(-3) == 9
assert square(0) == 0
assert square(1.5) == 2.25

#: 1 returns the cube of the number n.
def cube(n):
    return n ** 3
assert cube(2) == 8
assert cube(-3) == -27
assert cube(0) == 0
assert cube(10) == 1000

#: 1 returns the remainder of a divided by b.
def remainder(a, b):
    return a % b
assert remainder(17, 5) == 2
assert remainder(20, 4) == 0
assert remainder(3, 7) == 3
assert remainder(101, 10) == 1

#: 1 returns the area of a rectangle.
def rectangle_area(width, height):
    return width * height
assert rectangle_area(3, 4) == 12
assert rectangle_area(1, 9) == 9
assert rectangle_area(0, 5) == 0
assert rectangle_area(2.5, 2) == 5.0

#: 1 returns half of the number n.
def half(n):
    return n / 2
assert half(10) == 5
assert half(7) == 3.5
assert half(-4) == -2
assert half(0) == 0

#: 1 returns the average of the two numbers.
def average_of_two(a, b):
    return (a + b) / 2
assert average_of_two(4, 8) == 6
assert average_of_two(1, 2) == 1.5
assert average_of_two(-3, 3) == 0
assert average_of_two(10, 10) == 10

#: 1 returns the perimeter of a rectangle.
def rectangle_perimeter(width, height):
    return 2 * (width + height)
assert rectangle_perimeter(3, 4) == 14
assert rectangle_perimeter(1, 1) == 4
assert rectangle_perimeter(10, 0) == 20
assert rectangle_perimeter(2, 7) == 18

#: 2 converts a temperature from degrees Celsius to degrees Fahrenheit.
def celsius_to_fahrenheit(celsius):
    return celsius * 9 / 5 + 32
assert celsius_to_fahrenheit(100) == 212
assert celsius_to_fahrenheit(0) == 32
assert celsius_to_fahrenheit(-40) == -40
assert celsius_to_fahrenheit(25) == 77
assert celsius_to_fahrenheit(2.5) == 36.5

#: 2 returns the last digit of the whole number n, which may be negative.
def last_digit(n):
    return abs(n) % 10
assert last_digit(1234) == 4
assert last_digit(-56) == 6
assert last_digit(0) == 0
assert last_digit(9) == 9
assert last_digit(70) == 0

#: 2 returns the sum of the decimal digits of the whole number n, where n is not negative.
def digit_sum(n):
    return sum(int(d) for d in str(n))
assert digit_sum(123) == 6
assert digit_sum(0) == 0
assert digit_sum(9999) == 36
assert digit_sum(1002) == 3

#: 2 returns how many boxes of the given size are needed for all the items.
def boxes_needed(items, size):
    return -(-items // size)
assert boxes_needed(10, 4) == 3
assert boxes_needed(8, 4) == 2
assert boxes_needed(0, 6) == 0
assert boxes_needed(1, 6) == 1
assert boxes_needed(13, 12) == 2

#: 2 returns the distance between the numbers a and b on the number line.
def number_distance(a, b):
    return abs(a - b)
assert number_distance(3, 10) == 7
assert number_distance(10, 3) == 7
assert number_distance(-2, 5) == 7
assert number_distance(4, 4) == 0

#: 2 returns the given percentage of the amount.
def percent_of(amount, percent):
    return amount * percent / 100
assert percent_of(200, 10) == 20
assert percent_of(50, 100) == 50
assert percent_of(80, 0) == 0
assert percent_of(40, 25) == 10
assert percent_of(50, 1) == 0.5

#: 3 returns the number of seconds as a list [hours, minutes, seconds].
def split_seconds(total):
    return [total // 3600, total % 3600 // 60, total % 60]
assert split_seconds(3661) == [1, 1, 1]
assert split_seconds(59) == [0, 0, 59]
assert split_seconds(60) == [0, 1, 0]
assert split_seconds(7200) == [2, 0, 0]
assert split_seconds(86399) == [23, 59, 59]

#: 3 returns the greatest common divisor of two positive whole numbers.
def greatest_common_divisor(a, b):
    while b:
        a, b = b, a % b
    return a
assert greatest_common_divisor(12, 18) == 6
assert greatest_common_divisor(7, 13) == 1
assert greatest_common_divisor(100, 10) == 10
assert greatest_common_divisor(9, 9) == 9
assert greatest_common_divisor(48, 180) == 12
# timed
assert greatest_common_divisor(1134903170, 701408733) == 1

#: 3 returns the whole number n with its decimal digits in reverse order, keeping its sign.
def reverse_number(n):
    digits = int(str(abs(n))[::-1])
    return -digits if n < 0 else digits
assert reverse_number(123) == 321
assert reverse_number(-45) == -54
assert reverse_number(100) == 1
assert reverse_number(7) == 7
assert reverse_number(0) == 0

#: 3 rounds the whole number n to the nearest multiple of 10; a number that ends in 5 goes up.
def round_to_ten(n):
    return (n + 5) // 10 * 10
assert round_to_ten(14) == 10
assert round_to_ten(15) == 20
assert round_to_ten(99) == 100
assert round_to_ten(0) == 0
assert round_to_ten(26) == 30

#: 4 returns the list of the prime factors of n in ascending order, each as often as it divides n. n is at least 2.
def prime_factors(n):
    found, p = [], 2
    while p * p <= n:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found + [n] if n > 1 else found
assert prime_factors(12) == [2, 2, 3]
assert prime_factors(13) == [13]
assert prime_factors(2) == [2]
assert prime_factors(49) == [7, 7]
assert prime_factors(360) == [2, 2, 2, 3, 3, 5]
assert prime_factors(97 * 101) == [97, 101]
# timed
assert prime_factors(1000000007) == [1000000007]

#: 4 returns the fewest coins that add up to the amount in cents, with coins of 50, 20, 10, 5, 2 and 1 cents.
def fewest_coins(amount):
    coins = 0
    for coin in (50, 20, 10, 5, 2, 1):
        coins += amount // coin
        amount %= coin
    return coins
assert fewest_coins(88) == 6
assert fewest_coins(0) == 0
assert fewest_coins(1) == 1
assert fewest_coins(40) == 2
assert fewest_coins(99) == 6
assert fewest_coins(150) == 3
# timed
assert fewest_coins(1000088) == 20006

#: 4 returns the positive whole number n as text in the given base from 2 to 16, with the digits 0-9 and a-f.
def to_base(n, base):
    text = ""
    while n:
        text = "0123456789abcdef"[n % base] + text
        n //= base
    return text
assert to_base(10, 2) == "1010"
assert to_base(255, 16) == "ff"
assert to_base(7, 10) == "7"
assert to_base(26, 3) == "222"
assert to_base(64, 8) == "100"
assert to_base(2748, 16) == "abc"
# timed
assert to_base(2 ** 200, 2) == "1" + "0" * 200
