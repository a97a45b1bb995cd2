"""A summary names one thing after the other: the words of its source count as words of the language."""

from llmrec_django.services.writing.languages import is_in

SOURCE = (
    "Bubble-tea queues, red packets, second-hand phones and shared umbrellas: ordinary scenes through which the author "
    "reveals incentives, auctions and trust."
)
LIST = "Bubble-tea queues, red packets, second-hand phones and shared umbrellas reveal incentives, auctions and trust."


def test_words_of_an_english_source_are_english():
    assert not is_in(LIST, "en")
    assert is_in(LIST, "en", SOURCE)


def test_another_language_does_not_become_english_by_its_source():
    spanish = "Las colas del té, los sobres rojos y los teléfonos usados revelan incentivos, subastas y confianza."
    plain = spanish.replace("é", "e")
    assert not is_in(plain, "en", plain)


def test_what_is_not_in_the_source_is_not_known_by_it():
    assert not is_in("Zorbel quixt framble wobbit snark plonk griffle.", "en", SOURCE)
