"""The one number both ends compare.

1  2026-11  first protocol: ledger, vouchers, pieces, tracker, enrolment
"""

PROTOCOL = 1
