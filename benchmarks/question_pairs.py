"""Write benchmarks/data/question_pairs.csv: pairs of questions that ask for the same, or that only look alike.

A topic is on one side alone: it calibrates, or it tests. Topics are written by hand; families fill a few sentences with
names, numbers and units. The rules of wording.py were written on the topics that calibrate. Those that test were
written last. A first measurement on them had 2 of 64 pairs wrong; then the rules were made stricter: the order of the
words counts, and the verbs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parent / "data" / "question_pairs.csv"


class Topic(NamedTuple):
    """Questions about one thing.

    Attributes:
        same: All ask for the same.
        other: Each asks for something else than those, and looks like them.
    """

    same: tuple[str, ...]
    other: tuple[str, ...]


WRITTEN = {
    "reverse a list": Topic(
        (
            "How do I reverse a list in Python?",
            "In Python, how can I reverse a list?",
            "What's the way to reverse a Python list?",
            "Show me how to reverse a list in Python.",
        ),
        (
            "How do I reverse a list in JavaScript?",
            "How do I reverse a string in Python?",
            "How do I sort a list in Python?",
            "How do I reverse a list in Python without copying it?",
            "Why would I reverse a list in Python?",
        ),
    ),
    "capital of Australia": Topic(
        (
            "What is the capital of Australia?",
            "Tell me the capital of Australia.",
            "Australia's capital is which city?",
            "Which city is the capital of Australia?",
        ),
        (
            "What is the capital of Austria?",
            "What is the population of Australia?",
            "What was the capital of Australia before Canberra?",
            "What is the largest city of Australia?",
        ),
    ),
    "boiling an egg": Topic(
        (
            "How long should I boil an egg for a soft yolk?",
            "How long do I boil an egg for a soft yolk?",
            "For a soft yolk, how long should an egg boil?",
        ),
        (
            "How long should I boil an egg for a hard yolk?",
            "How long should I boil a potato for a soft yolk?",
            "How long should I boil two eggs for a soft yolk?",
            "How long should I fry an egg for a soft yolk?",
        ),
    ),
    "resetting a router": Topic(
        (
            "How do I reset my wifi router to factory settings?",
            "How can I reset my wifi router to factory settings?",
            "What are the steps to reset my wifi router to factory settings?",
            "Please explain how to restore my wifi router to factory settings.",
        ),
        (
            "How do I reset my wifi password to factory settings?",
            "How do I reset my wifi router without factory settings?",
            "How do I update my wifi router to factory settings?",
            "How do I reset your wifi router to factory settings?",
        ),
    ),
    "aspirin and ibuprofen": Topic(
        (
            "Can I take aspirin and ibuprofen together?",
            "Could I take aspirin and ibuprofen together?",
            "Is it safe to take ibuprofen together with aspirin?",
        ),
        (
            "Can I take aspirin and paracetamol together?",
            "Should I take aspirin and ibuprofen together?",
            "Can I take aspirin before ibuprofen?",
            "Can I not take aspirin and ibuprofen together?",
            "Why can I take aspirin and ibuprofen together?",
        ),
    ),
    "git undo": Topic(
        (
            "How do I undo the last commit in git without losing changes?",
            "In git, how do I undo the last commit without losing changes?",
            "How can I undo the last commit in git without losing my changes?",
            "Undo last git commit but keep the changes - how?",
        ),
        (
            "How do I undo the last commit in git and lose all changes?",
            "How do I undo the first commit in git without losing changes?",
            "How do I undo the last merge in git without losing changes?",
            "How do I undo the last 3 commits in git without losing changes?",
            "How do I redo the last commit in git without losing changes?",
        ),
    ),
    "moon landing": Topic(
        (
            "When did Apollo 11 land on the moon?",
            "In what year did Apollo 11 land on the moon?",
            "On which date did Apollo 11 land on the moon?",
        ),
        (
            "When did Apollo 12 land on the moon?",
            "Where did Apollo 11 land on the moon?",
            "When did Apollo 11 leave the moon?",
            "Who was aboard when Apollo 11 landed on the moon?",
            "Why did Apollo 11 land on the moon?",
        ),
    ),
    "vat": Topic(
        (
            "How much is VAT on books in Germany?",
            "In Germany, how much is VAT on books?",
            "How much VAT is on books in Germany?",
        ),
        (
            "How much is VAT on books in France?",
            "How much is VAT on e-readers in Germany?",
            "How much is customs duty on books in Germany?",
            "How many books have VAT in Germany?",
        ),
    ),
    "tomato blight": Topic(
        (
            "Why do the leaves of my tomato plants turn yellow?",
            "Why are the leaves of my tomato plants turning yellow?",
            "What makes the leaves of my tomato plants turn yellow?",
            "My tomato plants have yellow leaves, what is wrong?",
        ),
        (
            "Why do the leaves of my tomato plants turn brown?",
            "Why do the leaves of my potato plants turn yellow?",
            "How do the leaves of my tomato plants turn yellow?",
            "Why do the fruits of my tomato plants turn yellow?",
            "Why do the leaves of my tomato plants not turn yellow?",
        ),
    ),
    "hamlet": Topic(
        (
            "Who wrote Hamlet?",
            "Who is the author of Hamlet?",
            "Tell me who wrote Hamlet.",
            "Hamlet was written by whom?",
        ),
        (
            "Who wrote Macbeth?",
            "When was Hamlet written?",
            "Who killed Hamlet?",
            "Who wrote about Hamlet?",
            "Whom did Hamlet write to?",
        ),
    ),
    "sql join": Topic(
        (
            "What is the difference between an inner join and a left join in SQL?",
            "In SQL, what is the difference between an inner join and a left join?",
            "Explain the difference between an inner join and a left join in SQL.",
        ),
        (
            "What is the difference between an inner join and a right join in SQL?",
            "What is the difference between an outer join and a left join in SQL?",
            "What is the similarity between an inner join and a left join in SQL?",
            "Which is faster in SQL, an inner join or a left join?",
        ),
    ),
    "photosynthesis": Topic(
        (
            "Explain photosynthesis in simple words.",
            "Describe photosynthesis in simple words.",
            "What is photosynthesis, in simple words?",
            "Please explain photosynthesis to me in simple words.",
        ),
        (
            "Explain photosynthesis in two sentences.",
            "Explain respiration in simple words.",
            "Explain photosynthesis in technical words.",
            "Explain photosynthesis in simple words in German.",
            "Explain why photosynthesis matters in simple words.",
        ),
    ),
    "world cup": Topic(
        (
            "Who won the World Cup in 2014?",
            "Tell me who won the World Cup in 2014.",
            "Who were the winners of the World Cup in 2014?",
            "In 2014, who won the World Cup?",
        ),
        (
            "Who won the World Cup in 2010?",
            "Who lost the World Cup in 2014?",
            "Where was the World Cup in 2014?",
            "Who hosted the World Cup in 2014?",
            "Who won the Rugby World Cup in 2014?",
        ),
    ),
    "dog chocolate": Topic(
        (
            "Is chocolate poisonous for dogs?",
            "For dogs, is chocolate poisonous?",
            "Are dogs poisoned by chocolate?",
        ),
        (
            "Is chocolate poisonous for cats?",
            "Is white chocolate poisonous for dogs?",
            "Why is chocolate poisonous for dogs?",
            "Is chocolate not poisonous for dogs?",
            "How much chocolate is poisonous for dogs?",
        ),
    ),
    "docker volume": Topic(
        (
            "How do I delete all unused Docker volumes?",
            "How can I delete all unused Docker volumes?",
            "How do I remove all unused Docker volumes?",
            "What's the command that deletes all unused Docker volumes?",
        ),
        (
            "How do I delete all unused Docker images?",
            "How do I list all unused Docker volumes?",
            "How do I delete all Docker volumes?",
            "How do I delete all used Docker volumes?",
            "How do I delete one unused Docker volume?",
        ),
    ),
    "mortgage": Topic(
        (
            "What is the monthly payment on a 200000 dollar mortgage at 4% over 30 years?",
            "On a 200000 dollar mortgage at 4% over 30 years, what is the monthly payment?",
            "Tell me the monthly payment on a 200,000 dollar mortgage at 4% over 30 years.",
        ),
        (
            "What is the monthly payment on a 200000 dollar mortgage at 5% over 30 years?",
            "What is the monthly payment on a 200000 dollar mortgage at 4% over 15 years?",
            "What is the yearly payment on a 200000 dollar mortgage at 4% over 30 years?",
            "What is the monthly payment on a 200000 euro mortgage at 4% over 30 years?",
        ),
    ),
    "passport": Topic(
        (
            "Where do I renew my passport in Zurich?",
            "Where can I renew my passport in Zurich?",
            "In Zurich, where do I renew my passport?",
        ),
        (
            "Where do I renew my passport in Geneva?",
            "Where do I renew my licence in Zurich?",
            "When do I renew my passport in Zurich?",
            "How do I renew my passport in Zurich?",
            "Where do I renew his passport in Zurich?",
        ),
    ),
    "bread": Topic(
        (
            "Why does my bread not rise?",
            "Why doesn't my bread rise?",
            "What is the reason my bread does not rise?",
            "Why is my bread not rising?",
        ),
        (
            "Why does my bread rise?",
            "Why does my bread not brown?",
            "How does my bread not rise?",
            "Why does my pizza not rise?",
        ),
    ),
    "regex email": Topic(
        (
            "Write a regular expression that matches an email address.",
            "Please write a regular expression that matches an email address.",
            "Give me a regular expression that matches an email address.",
            "I need a regex for email addresses.",
        ),
        (
            "Write a regular expression that matches an IP address.",
            "Write a regular expression that rejects an email address.",
            "Write a parser that matches an email address.",
            "Write a regular expression that matches every email address except Gmail.",
        ),
    ),
    "speed of light": Topic(
        (
            "What is the speed of light in kilometres per second?",
            "Tell me the speed of light in kilometers per second.",
            "In kilometres per second, what is the speed of light?",
        ),
        (
            "What is the speed of light in miles per second?",
            "What is the speed of light in kilometres per hour?",
            "What is the speed of sound in kilometres per second?",
            "Who measured the speed of light in kilometres per second?",
        ),
    ),
    "notice period": Topic(
        (
            "What is the notice period for tenants in Vienna?",
            "For tenants in Vienna, what is the notice period?",
            "Tell me the notice period for tenants in Vienna.",
        ),
        (
            "What is the notice period for landlords in Vienna?",
            "What is the notice period for tenants in Berlin?",
            "What is the trial period for tenants in Vienna?",
            "Is there a notice period for tenants in Vienna?",
        ),
    ),
    "python java speed": Topic(
        (
            "Is Rust faster than Go for web servers?",
            "For web servers, is Rust faster than Go?",
            "Would Rust be faster than Go for web servers?",
        ),
        (
            "Is Go faster than Rust for web servers?",
            "Is Rust slower than Go for web servers?",
            "Is Rust faster than Go for web browsers?",
            "Is Rust safer than Go for web servers?",
        ),
    ),
    "flight": Topic(
        (
            "How long is a flight from Paris to Tokyo?",
            "From Paris to Tokyo, how long is a flight?",
            "How long does a flight from Paris to Tokyo take?",
        ),
        (
            "How long is a flight from Tokyo to Paris?",
            "How long is a flight from Paris to Osaka?",
            "How much is a flight from Paris to Tokyo?",
            "How long is a train from Paris to Tokyo?",
        ),
    ),
    "summary of a book": Topic(
        (
            "Summarise Moby Dick in 100 words.",
            "Please summarise Moby Dick in 100 words.",
            "Give me a summary of Moby Dick in 100 words.",
            "In 100 words, summarize Moby Dick.",
        ),
        (
            "Summarise Moby Dick in 200 words.",
            "Summarise Moby Dick in 100 sentences.",
            "Review Moby Dick in 100 words.",
            "Summarise Moby Dick in 100 French words.",
            "Summarise the first chapter of Moby Dick in 100 words.",
        ),
    ),
    "car battery": Topic(
        (
            "How do I charge the battery of an electric car at home?",
            "At home, how do I charge the battery of an electric car?",
            "How can I charge the battery of an electric car at home?",
            "What is the way to charge an electric car's battery at home?",
        ),
        (
            "How do I change the battery of an electric car at home?",
            "How do I charge the battery of an electric bike at home?",
            "How do I charge the battery of an electric car at work?",
            "How do I discharge the battery of an electric car at home?",
            "How much is it to charge the battery of an electric car at home?",
        ),
    ),
    "excel": Topic(
        (
            "How do I freeze the top row in Excel?",
            "In Excel, how do I freeze the top row?",
            "How can I freeze the top row in Excel?",
            "Show me the steps to freeze the top row in Excel.",
        ),
        (
            "How do I unfreeze the top row in Excel?",
            "How do I freeze the first column in Excel?",
            "How do I freeze the top two rows in Excel?",
            "How do I freeze the top row in Word?",
        ),
    ),
    "vitamin": Topic(
        (
            "How much vitamin D should an adult take every day?",
            "How much vitamin D should adults take every day?",
            "Every day, how much vitamin D should an adult take?",
        ),
        (
            "How much vitamin C should an adult take every day?",
            "How much vitamin D should a child take every day?",
            "How much vitamin D should an adult take every week?",
            "How many adults take vitamin D every day?",
        ),
    ),
    "kant": Topic(
        (
            "Where was Immanuel Kant born?",
            "Tell me where Immanuel Kant was born.",
            "In which place was Immanuel Kant born?",
            "What is the birthplace of Immanuel Kant?",
        ),
        (
            "When was Immanuel Kant born?",
            "Where did Immanuel Kant die?",
            "Where was Friedrich Nietzsche born?",
            "To whom was Immanuel Kant born?",
        ),
    ),
    "poem": Topic(
        (
            "Write a poem about autumn with four lines.",
            "Please write a poem about autumn with four lines.",
            "Write a poem with four lines about autumn.",
        ),
        (
            "Write a poem about autumn with six lines.",
            "Write a poem about spring with four lines.",
            "Write a letter about autumn with four lines.",
            "Write a sad poem about autumn with four lines.",
        ),
    ),
    "interest": Topic(
        (
            "What is compound interest?",
            "Explain compound interest.",
            "Define compound interest.",
            "Can you tell me what compound interest is?",
        ),
        (
            "What is simple interest?",
            "How is compound interest computed?",
            "What is the opposite of compound interest?",
            "Who invented compound interest?",
            "What is compound interest at 3%?",
        ),
    ),
    "cold water": Topic(
        (
            "Does hot water freeze faster than cold water?",
            "Would hot water freeze faster than cold water?",
            "Will hot water freeze faster than cold water?",
        ),
        (
            "Does cold water freeze faster than hot water?",
            "Does hot water boil faster than cold water?",
            "Why does hot water freeze faster than cold water?",
            "Does hot milk freeze faster than cold water?",
        ),
    ),
    "chess": Topic(
        (
            "How many squares are there on a chess board?",
            "What is the number of squares on a chess board?",
            "On a chess board, how many squares are there?",
        ),
        (
            "How many white squares are there on a chess board?",
            "How many pieces are there on a chess board?",
            "How many squares are there on a Go board?",
            "How big are the squares on a chess board?",
        ),
    ),
    "meeting mail": Topic(
        (
            "Write an email that moves the meeting from Monday to Friday.",
            "Please write an email that moves the meeting from Monday to Friday.",
            "Write me an email that moves the meeting from Monday to Friday.",
        ),
        (
            "Write an email that moves the meeting from Friday to Monday.",
            "Write an email that moves the meeting from Monday to Thursday.",
            "Write an email that cancels the meeting from Monday to Friday.",
            "Write a memo that moves the meeting from Monday to Friday.",
        ),
    ),
    "rome and carthage": Topic(
        (
            "Why did Rome attack Carthage?",
            "What is the reason Rome attacked Carthage?",
            "For which reasons did Rome attack Carthage?",
            "What made Rome attack Carthage?",
        ),
        (
            "Why did Carthage attack Rome?",
            "When did Rome attack Carthage?",
            "Why did Rome attack Corinth?",
            "Why did Rome not attack Carthage?",
        ),
    ),
    "pregnancy coffee": Topic(
        (
            "Is coffee safe during pregnancy?",
            "During pregnancy, is coffee safe?",
            "Is coffee during pregnancy safe?",
        ),
        (
            "Is coffee unsafe during pregnancy?",
            "Is coffee safe after pregnancy?",
            "Is tea safe during pregnancy?",
            "Is decaffeinated coffee safe during pregnancy?",
        ),
    ),
    "rent tax": Topic(
        (
            "Do I have to pay tax on rent in Spain?",
            "In Spain, do I have to pay tax on rent?",
            "Have I to pay tax on rent in Spain?",
        ),
        (
            "Do I have to pay tax on rent in Portugal?",
            "Do I have to pay tax on dividends in Spain?",
            "Does my tenant have to pay tax on rent in Spain?",
            "How do I pay tax on rent in Spain?",
        ),
    ),
}


class Family(NamedTuple):
    """Sentences that names are filled into.

    Attributes:
        same: All ask for the same when they are filled alike.
        values: What is filled in, one row for each question.
    """

    same: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


FAMILIES = {
    "conversion": Family(
        (
            "Convert {0} {1} to {2}.",
            "Please convert {0} {1} to {2}.",
            "How do I convert {0} {1} to {2}?",
        ),
        (
            ("5", "miles", "kilometres"),
            ("5", "kilometres", "miles"),
            ("50", "miles", "kilometres"),
            ("5", "miles", "metres"),
            ("5", "pounds", "kilograms"),
        ),
    ),
    "translation": Family(
        (
            "Translate '{0}' from {1} to {2}.",
            "Please translate '{0}' from {1} to {2}.",
            "Translate from {1} to {2}: '{0}'",
        ),
        (
            ("good night", "English", "Spanish"),
            ("good night", "Spanish", "English"),
            ("good night", "English", "Italian"),
            ("good morning", "English", "Spanish"),
        ),
    ),
    "birthdays": Family(
        (
            "When was {0} born?",
            "In what year was {0} born?",
            "Tell me when {0} was born.",
        ),
        (("Marie Curie",), ("Pierre Curie",), ("Ada Lovelace",), ("Grace Hopper",)),
    ),
    "heights": Family(
        (
            "What is the height of {0} in {1}?",
            "In {1}, what is the height of {0}?",
            "How tall is {0} in {1}?",
        ),
        (
            ("Mont Blanc", "metres"),
            ("Mont Blanc", "feet"),
            ("Mount Everest", "metres"),
            ("K2", "metres"),
        ),
    ),
    "percentages": Family(
        (
            "What is {0}% of {1}?",
            "Calculate {0}% of {1}.",
            "How much is {0}% of {1}?",
        ),
        (("15", "80"), ("80", "15"), ("15", "800"), ("1.5", "80"), ("20", "80")),
    ),
    "files": Family(
        (
            "How do I read a {0} file in {1}?",
            "In {1}, how do I read a {0} file?",
            "How can I read a {0} file in {1}?",
        ),
        (("CSV", "R"), ("JSON", "R"), ("CSV", "Julia"), ("XML", "Julia")),
    ),
    "comparison": Family(
        (
            "Is {0} bigger than {1}?",
            "Would you say {0} is bigger than {1}?",
            "Tell me, is {0} bigger than {1}?",
        ),
        (("Jupiter", "Saturn"), ("Saturn", "Jupiter"), ("Jupiter", "Mars"), ("Venus", "Saturn")),
    ),
    "distances": Family(
        (
            "What is the distance from {0} to {1}?",
            "How far is it from {0} to {1}?",
            "Tell me the distance from {0} to {1}.",
        ),
        (("Oslo", "Bergen"), ("Oslo", "Bodø"), ("Turku", "Bergen"), ("Bergen", "Turku")),
    ),
}


MORE = {
    "washing wool": Topic(
        (
            "At what temperature should I wash a wool sweater?",
            "What temperature should I wash a wool sweater at?",
            "Which temperature is right for washing a wool sweater?",
            "A wool sweater should be washed at what temperature?",
        ),
        (
            "At what temperature should I wash a cotton sweater?",
            "At what temperature should I dry a wool sweater?",
            "At what temperature should I not wash a wool sweater?",
            "At what speed should I spin a wool sweater?",
            "Why should I wash a wool sweater at a low temperature?",
        ),
    ),
    "penicillin": Topic(
        (
            "Who discovered penicillin?",
            "By whom was penicillin discovered?",
            "Who was the discoverer of penicillin?",
            "Please tell me who discovered penicillin.",
        ),
        (
            "Who discovered insulin?",
            "When was penicillin discovered?",
            "Who was treated with penicillin first?",
            "Who discovered that penicillin is toxic?",
            "Who disputed the discovery of penicillin?",
        ),
    ),
    "kubernetes pods": Topic(
        (
            "How do I restart a pod in Kubernetes?",
            "In Kubernetes, how do I restart a pod?",
            "How can I restart a pod in Kubernetes?",
            "What is the command for restarting a Kubernetes pod?",
        ),
        (
            "How do I restart a node in Kubernetes?",
            "How do I start a pod in Kubernetes?",
            "How do I restart all pods in Kubernetes?",
            "How do I prevent a pod from restarting in Kubernetes?",
            "How do I restart a pod in OpenShift?",
        ),
    ),
    "the nile": Topic(
        (
            "How long is the Nile in kilometres?",
            "In kilometres, how long is the Nile?",
            "What is the length of the Nile in kilometres?",
            "Tell me the length of the Nile in kilometers.",
        ),
        (
            "How long is the Nile in miles?",
            "How long is the Amazon in kilometres?",
            "How wide is the Nile in kilometres?",
            "How long is the Blue Nile in kilometres?",
        ),
    ),
    "second-hand returns": Topic(
        (
            "Can I return a used phone within 14 days in Austria?",
            "In Austria, can I return a used phone within 14 days?",
            "May I return a used phone within 14 days in Austria?",
            "Is it possible to return a used phone within 14 days in Austria?",
        ),
        (
            "Can I return a used phone within 30 days in Austria?",
            "Can I return a new phone within 14 days in Austria?",
            "Can I return a used phone within 14 days in Hungary?",
            "Can I return a used phone after 14 days in Austria?",
            "Must I return a used phone within 14 days in Austria?",
        ),
    ),
    "soil for roses": Topic(
        (
            "What kind of soil do roses need?",
            "Which kind of soil do roses need?",
            "Roses need what kind of soil?",
            "What is the right soil for roses?",
        ),
        (
            "What kind of fertiliser do roses need?",
            "What kind of soil do rosemary bushes need?",
            "What kind of soil do roses not need?",
            "How much soil do roses need?",
        ),
    ),
    "css centring": Topic(
        (
            "How do I center a div vertically with CSS?",
            "With CSS, how do I center a div vertically?",
            "How can I vertically centre a div with CSS?",
            "How to center a div vertically using CSS?",
        ),
        (
            "How do I center a div horizontally with CSS?",
            "How do I center a table vertically with CSS?",
            "How do I center a div vertically without CSS?",
            "How do I center text vertically in a div with CSS?",
        ),
    ),
    "waterloo": Topic(
        (
            "Who won the battle of Waterloo?",
            "The battle of Waterloo was won by whom?",
            "Tell me who won the battle of Waterloo.",
            "Who were the victors of the battle of Waterloo?",
        ),
        (
            "Who lost the battle of Waterloo?",
            "When was the battle of Waterloo won?",
            "Who won the battle of Leipzig?",
            "Who won after the battle of Waterloo?",
            "Who was beaten at the battle of Waterloo?",
        ),
    ),
    "toddler fever": Topic(
        (
            "When should I see a doctor for a toddler's fever?",
            "When should I see a physician for a toddler's fever?",
            "When do I need to take a toddler with a fever to a doctor?",
        ),
        (
            "When should I see a doctor for a toddler's rash?",
            "When should I see a doctor for a baby's fever?",
            "Where should I see a doctor for a toddler's fever?",
            "When should I not see a doctor for a toddler's fever?",
            "When should I call a doctor for a toddler's fever?",
        ),
    ),
    "haiku": Topic(
        (
            "Write a haiku about the sea in Italian.",
            "Please write a haiku about the sea in Italian.",
            "Write an Italian haiku about the sea.",
            "In Italian, write a haiku about the sea.",
        ),
        (
            "Write a haiku about the sea in Spanish.",
            "Write a haiku about the sky in Italian.",
            "Write a limerick about the sea in Italian.",
            "Write a haiku about Italian in the sea.",
            "Write two haiku about the sea in Italian.",
        ),
    ),
    "employer pension": Topic(
        (
            "Does my employer have to pay into my pension in Ireland?",
            "In Ireland, does my employer have to pay into my pension?",
            "Must my employer pay into my pension in Ireland?",
        ),
        (
            "Do I have to pay into my employer's pension in Ireland?",
            "Does my employer have to pay out of my pension in Ireland?",
            "Does my employer have to pay into my pension in Scotland?",
            "Does my employer have to pay into her pension in Ireland?",
            "How much does my employer have to pay into my pension in Ireland?",
        ),
    ),
    "prime": Topic(
        (
            "Is 221 a prime number?",
            "Tell me whether 221 is a prime number.",
            "Is the number 221 prime?",
            "Would 221 be a prime number?",
        ),
        (
            "Is 227 a prime number?",
            "Is 221 a square number?",
            "Is 2.21 a prime number?",
            "Why is 221 a prime number?",
            "Is 221 not a prime number?",
        ),
    ),
    "thread safety": Topic(
        (
            "Are Python dictionaries thread safe?",
            "Is a Python dictionary thread safe?",
            "In Python, are dictionaries thread safe?",
        ),
        (
            "Are Python lists thread safe?",
            "Are Ruby dictionaries thread safe?",
            "Are Python dictionaries type safe?",
            "How are Python dictionaries thread safe?",
            "Are Python dictionaries thread unsafe?",
        ),
    ),
    "moving goldfish": Topic(
        (
            "How do I move goldfish from a tank to a pond?",
            "How can I move goldfish from a tank to a pond?",
            "From a tank to a pond, how do I move goldfish?",
            "What is the way to move goldfish from a tank to a pond?",
        ),
        (
            "How do I move goldfish from a pond to a tank?",
            "How do I move guppies from a tank to a pond?",
            "How do I feed goldfish from a tank to a pond?",
            "How do I move goldfish from a bag to a tank?",
            "When do I move goldfish from a tank to a pond?",
        ),
    ),
    "oil change": Topic(
        (
            "How often should I change the oil of a diesel car?",
            "How often should the oil of a diesel car be changed?",
            "How frequently should I change the oil of a diesel car?",
            "The oil of a diesel car should be changed how often?",
        ),
        (
            "How often should I change the oil of a petrol car?",
            "How often should I check the oil of a diesel car?",
            "How often should I change the oil filter of a diesel car?",
            "How should I change the oil of a diesel car?",
            "How often should I change the oil of a diesel truck?",
        ),
    ),
    "gulf stream": Topic(
        (
            "What would happen if the Gulf Stream stopped?",
            "If the Gulf Stream stopped, what would happen?",
            "What happens if the Gulf Stream stops?",
        ),
        (
            "What would happen if the Gulf Stream sped up?",
            "What would happen if the Jet Stream stopped?",
            "What would happen before the Gulf Stream stopped?",
            "What would stop the Gulf Stream?",
            "Where would the Gulf Stream stop?",
        ),
    ),
    "reference letter": Topic(
        (
            "Write a reference letter for a nurse from her manager.",
            "Please write a reference letter for a nurse from her manager.",
            "Write a letter of reference for a nurse from her manager.",
        ),
        (
            "Write a reference letter for a manager from her nurse.",
            "Write a reference letter for a teacher from her manager.",
            "Write a cover letter for a nurse from her manager.",
            "Write a reference letter for a nurse from his manager.",
            "Write a short reference letter for a nurse from her manager.",
        ),
    ),
    "seed oil smoke": Topic(
        (
            "Which oil has the highest smoke point?",
            "What oil has the highest smoke point?",
            "The highest smoke point is that of which oil?",
        ),
        (
            "Which oil has the lowest smoke point?",
            "Which oil has the highest melting point?",
            "Which fat has the highest smoke point?",
            "Which nut oil has the highest smoke point?",
            "Why does oil have the highest smoke point?",
        ),
    ),
}

MORE_FAMILIES = {
    "populations": Family(
        (
            "What was the population of {0} in {1}?",
            "In {1}, what was the population of {0}?",
            "How many people lived in {0} in {1}?",
        ),
        (("Lyon", "1990"), ("Lyon", "1900"), ("Lille", "1990"), ("Nantes", "1980")),
    ),
    "trains": Family(
        (
            "How do I get from {0} to {1} by {2}?",
            "How can I get from {0} to {1} by {2}?",
            "By {2}, how do I get from {0} to {1}?",
        ),
        (
            ("Graz", "Linz", "train"),
            ("Linz", "Graz", "train"),
            ("Graz", "Linz", "bus"),
            ("Graz", "Wels", "train"),
        ),
    ),
    "temperatures": Family(
        (
            "What is {0} degrees {1} in {2}?",
            "Convert {0} degrees {1} to {2}.",
            "In {2}, what is {0} degrees {1}?",
        ),
        (
            ("20", "Celsius", "Fahrenheit"),
            ("20", "Fahrenheit", "Celsius"),
            ("-20", "Celsius", "Fahrenheit"),
            ("20", "Celsius", "Kelvin"),
        ),
    ),
    "beats": Family(
        (
            "Did {0} ever beat {1} in a final?",
            "In a final, did {0} ever beat {1}?",
            "Has {0} ever beaten {1} in a final?",
        ),
        (
            ("Federer", "Nadal"),
            ("Nadal", "Federer"),
            ("Federer", "Murray"),
            ("Federer", "Djokovic"),
        ),
    ),
}


TESTING = {
    "chromebook": Topic(
        (
            "How do I install Ubuntu on a Chromebook?",
            "How can I install Ubuntu on a Chromebook?",
            "On a Chromebook, how do I install Ubuntu?",
            "What are the steps to install Ubuntu on a Chromebook?",
            "Installing Ubuntu on a Chromebook: how does that go?",
        ),
        (
            "How do I install Fedora on a Chromebook?",
            "How do I install Ubuntu on a MacBook?",
            "How do I uninstall Ubuntu on a Chromebook?",
            "How do I install Ubuntu beside ChromeOS on a Chromebook?",
            "Should I install Ubuntu on a Chromebook?",
        ),
    ),
    "eiffel tower": Topic(
        (
            "When was the Eiffel Tower built?",
            "In what year was the Eiffel Tower built?",
            "What year was the Eiffel Tower built in?",
            "Tell me when the Eiffel Tower was built.",
        ),
        (
            "When was the Leaning Tower built?",
            "Why was the Eiffel Tower built?",
            "When was the Eiffel Tower painted?",
            "When was the Eiffel Tower opened?",
            "By whom was the Eiffel Tower built?",
        ),
    ),
    "capital gains": Topic(
        (
            "How much tax do I pay on capital gains in Belgium?",
            "In Belgium, how much tax do I pay on capital gains?",
            "How much tax is there on capital gains in Belgium?",
            "How much capital gains tax do I pay in Belgium?",
        ),
        (
            "How much tax do I pay on capital gains in Bulgaria?",
            "How much tax do I pay on dividends in Belgium?",
            "How much tax did I pay on capital losses in Belgium?",
            "How much tax does my wife pay on capital gains in Belgium?",
            "How much VAT do I pay on capital goods in Belgium?",
        ),
    ),
    "insulin": Topic(
        (
            "Should insulin be kept in the fridge?",
            "Must insulin be kept in the fridge?",
            "Does insulin have to be kept in the fridge?",
            "Should I keep insulin in the fridge?",
        ),
        (
            "Should insulin be kept in the freezer?",
            "Should insulin be kept out of the fridge?",
            "Can insulin be kept in the fridge?",
            "Should insulin pens be kept in the fridge?",
            "Should glucagon be kept in the fridge?",
        ),
    ),
    "quicksort": Topic(
        (
            "What is the worst case complexity of quicksort?",
            "Tell me the worst case complexity of quicksort.",
            "What's quicksort's worst case complexity?",
            "In the worst case, what is the complexity of quicksort?",
        ),
        (
            "What is the best case complexity of quicksort?",
            "What is the worst case complexity of mergesort?",
            "What is the worst case input of quicksort?",
            "What is the average case complexity of quicksort?",
            "Why is the worst case complexity of quicksort bad?",
        ),
    ),
    "napoleon": Topic(
        (
            "Why did Napoleon invade Russia?",
            "What was the reason Napoleon invaded Russia?",
            "For what reason did Napoleon invade Russia?",
            "How come Napoleon invaded Russia?",
        ),
        (
            "Why did Russia invade Napoleon's France?",
            "Why did Napoleon leave Russia?",
            "Why did Napoleon invade Spain?",
            "How did Napoleon invade Russia?",
            "Why did Napoleon not invade Russia earlier?",
        ),
    ),
    "apology": Topic(
        (
            "Write a short apology to a customer for a late parcel.",
            "Please write a short apology to a customer for a late parcel.",
            "Write a short apology for a late parcel to a customer.",
            "Write me a short apology to a customer for a late parcel.",
        ),
        (
            "Write a long apology to a customer for a late parcel.",
            "Write a short apology to a courier for a late parcel.",
            "Write a short apology to a customer for a lost parcel.",
            "Write a short apology from a customer for a late parcel.",
            "Write a short complaint to a customer for a late parcel.",
        ),
    ),
    "postgres": Topic(
        (
            "How do I rename a column in PostgreSQL?",
            "In PostgreSQL, how do I rename a column?",
            "How can I rename a column in PostgreSQL?",
            "What's the SQL for renaming a PostgreSQL column?",
        ),
        (
            "How do I rename a table in PostgreSQL?",
            "How do I drop a column in PostgreSQL?",
            "How do I rename a column in MySQL?",
            "How do I rename two columns in PostgreSQL?",
            "Who may rename a column in PostgreSQL?",
        ),
    ),
    "sleep": Topic(
        (
            "How many hours of sleep does a teenager need?",
            "How many hours of sleep do teenagers need?",
            "What is the number of hours of sleep a teenager needs?",
            "How much sleep does a teenager need?",
        ),
        (
            "How many hours of sleep does a toddler need?",
            "How many minutes of sleep does a teenager need?",
            "How many hours of exercise does a teenager need?",
            "How many hours of sleep does a teenager get?",
            "How many hours of sleep does a teenager need after an exam?",
        ),
    ),
    "latvia": Topic(
        (
            "Are there more women than men in Latvia?",
            "In Latvia, are there more women than men?",
            "Does Latvia have more women than men?",
        ),
        (
            "Are there more men than women in Latvia?",
            "Are there fewer women than men in Latvia?",
            "Are there more women than men in Lithuania?",
            "Why are there more women than men in Latvia?",
            "Are there more girls than boys in Latvia?",
        ),
    ),
    "acetone": Topic(
        (
            "Does acetone dissolve polystyrene?",
            "Will acetone dissolve polystyrene?",
            "Is polystyrene dissolved by acetone?",
            "Would acetone dissolve polystyrene?",
        ),
        (
            "Does polystyrene dissolve acetone?",
            "Does acetone dissolve polyethylene?",
            "Does acetone not dissolve polystyrene?",
            "How does acetone dissolve polystyrene?",
            "Does ethanol dissolve polystyrene?",
        ),
    ),
    "subjunctive": Topic(
        (
            "Explain the subjunctive in Spanish with three examples.",
            "Please explain the subjunctive in Spanish with three examples.",
            "Explain the Spanish subjunctive with three examples.",
            "With three examples, explain the subjunctive in Spanish.",
        ),
        (
            "Explain the subjunctive in French with three examples.",
            "Explain the conditional in Spanish with three examples.",
            "Explain the subjunctive in Spanish with five examples.",
            "Explain the subjunctive in Spanish without examples.",
            "Explain in Spanish the subjunctive with three examples.",
        ),
    ),
}

TESTING_FAMILIES = {
    "currencies": Family(
        (
            "How many {1} are {0} {2}?",
            "Tell me how many {1} are {0} {2}.",
            "{0} {2} are how many {1}?",
        ),
        (
            ("100", "euros", "dollars"),
            ("100", "dollars", "euros"),
            ("1000", "euros", "dollars"),
            ("100", "euros", "francs"),
        ),
    ),
    "elections": Family(
        (
            "Who won the election in {0} in {1}?",
            "In {1}, who won the election in {0}?",
            "Tell me who won the election in {0} in {1}.",
        ),
        (("Canada", "2015"), ("Canada", "2019"), ("Chile", "2015"), ("Peru", "2021")),
    ),
    "loading": Family(
        (
            "How do I send data from {0} to {1}?",
            "How can I send data from {0} to {1}?",
            "From {0} to {1}, how do I send data?",
        ),
        (("Kafka", "S3"), ("S3", "Kafka"), ("Kafka", "GCS"), ("Kinesis", "S3")),
    ),
    "rulers": Family(
        (
            "Who ruled {0} before {1}?",
            "Tell me who ruled {0} before {1}.",
            "Before {1}, who ruled {0}?",
        ),
        (("Cyprus", "1571"), ("Cyprus", "1878"), ("Malta", "1571"), ("Crete", "1669")),
    ),
    "ages": Family(
        (
            "How old was {0} when {1} died?",
            "When {1} died, how old was {0}?",
            "What was the age of {0} when {1} died?",
        ),
        (("Bach", "Telemann"), ("Telemann", "Bach"), ("Bach", "Vivaldi"), ("Haydn", "Telemann")),
    ),
}


class Pair(NamedTuple):
    """Two questions, and whether an answer to one answers the other."""

    topic: str
    split: str
    first: str
    second: str
    same: int


def pairs_of_topic(name: str, topic: Topic, split: str) -> Iterator[Pair]:
    """All pairs that ask for the same, and each other question beside two of those."""
    for first, second in combinations(topic.same, 2):
        yield Pair(name, split, first, second, 1)
    for other in topic.other:
        for first in topic.same[:2]:
            yield Pair(name, split, first, other, 0)


def pairs_of_family(name: str, family: Family, split: str) -> Iterator[Pair]:
    """All sentences filled alike, and each filled with another row."""
    for row in family.values:
        filled = [sentence.format(*row) for sentence in family.same]
        for first, second in combinations(filled, 2):
            yield Pair(name, split, first, second, 1)
    for first_row, second_row in combinations(family.values, 2):
        for first, second in (family.same[:2], family.same[-2:]):
            yield Pair(name, split, first.format(*first_row), second.format(*second_row), 0)


def all_pairs() -> list[Pair]:
    """Every pair, by hand first."""
    pairs: list[Pair] = []
    for name, topic in {**WRITTEN, **MORE}.items():
        pairs.extend(pairs_of_topic(name, topic, "calibration"))
    for name, family in {**FAMILIES, **MORE_FAMILIES}.items():
        pairs.extend(pairs_of_family(name, family, "calibration"))
    for name, topic in TESTING.items():
        pairs.extend(pairs_of_topic(name, topic, "test"))
    for name, family in TESTING_FAMILIES.items():
        pairs.extend(pairs_of_family(name, family, "test"))
    return pairs


def main() -> None:
    """Write the file, and say what is in it."""
    pairs = all_pairs()
    TARGET.parent.mkdir(exist_ok=True)
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Pair._fields)
        writer.writerows(pairs)
    same = sum(pair.same for pair in pairs)
    print(f"{len(pairs)} pairs, {same} of which ask for the same, in {TARGET}")


if __name__ == "__main__":
    main()
