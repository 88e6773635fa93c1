"""What all commands share: options, the one speller of commands, signals, words for people.

Nothing here knows what a study found, and nothing here trains.
"""
