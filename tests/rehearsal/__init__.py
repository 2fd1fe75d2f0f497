"""The rehearsal: the real Zappa against an emulated AWS, and what it uploads, run as Lambda would.

`python -m tests.rehearsal` goes through all stages of `zappa_settings.json`, or those that are named.
"""
