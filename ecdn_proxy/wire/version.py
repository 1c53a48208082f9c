"""The one number both ends compare, and how releases of one number may differ.

1  2026-11  first protocol: ledger, vouchers, pieces, tracker, enrolment

IT updates agents in rings, so two releases talk to each other for weeks. With the same number they share with each
other, and so they speak with a coordinator of another release:

- **A message whose tag is not known** is passed over: counted, and the first on each link logged with the tag and the
  other's release. Whoever sends a message that earlier releases do not know manages without an answer to it.
- **Further fields** at the end of a message, or of a structure in it, are ignored; a missing one has its default, which
  means what was so before there was the field. Whoever passes a message on (the switchboard, an agent that relays
  vouchers) passes on what it knows.
- **Whatever else does not decode** is misbehaviour: a field beyond its bound, a value that a closed list does not have,
  something that is no array or does not begin with an integer. The link is closed and the device left alone for ten
  minutes.

So new messages and new fields at the end keep the number. A new number is needed to take a field away or change it, to
widen a bound or a closed list, to put something else under a signature, and for a message that the other end has to
understand. Agents of different numbers read each other's number in `Hello` and part without blame. They seldom meet:
mDNS leaves out other numbers, and a coordinator sends an agent of another number away for ten minutes. Each number then
is an office of its own: one more copy, and the video plays. To be read under every number, the frame, the TLS protocol
name `ecdn/1` and the fields that `Hello` and `Here` have now stay as they are.
"""

PROTOCOL = 1
