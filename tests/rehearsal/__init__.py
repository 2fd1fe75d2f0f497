"""The rehearsal: run the real Zappa against an emulated AWS, then run the uploaded package as Lambda would.

`python -m tests.rehearsal` rehearses every stage of `zappa_settings.json`; `python -m tests.rehearsal dev` only one.
"""
