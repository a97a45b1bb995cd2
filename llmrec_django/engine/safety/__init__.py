"""Hostile text: what nobody sees in it, and what it says to a language model instead of to a learner."""

RULES_ID = "rules/2"
"""Changes with every change of the rules, so that what passed the old ones is looked at again."""
