"""The protocol number that both ends of a link compare, and how releases with the same number may differ.

1  2026-11  first protocol: ledger, vouchers, pieces, tracker, enrolment

IT updates agents group by group, so two releases talk to each other for weeks. Agents whose releases have the same
number share with each other, and they can talk to a coordinator of another release. These rules make that possible:

- **A message with an unknown tag** is passed over. It is counted, and the first one on each link is logged with its tag
  and the sender's release. Whoever sends a message that earlier releases do not know must manage without an answer.
- **Unknown fields** at the end of a message, or of a structure in it, are ignored. A missing field has its default, and
  the default means what was so before the field existed. Whoever passes a message on (the switchboard, an agent that
  relays vouchers) passes on only the fields that it knows.
- **Anything else that does not decode** is misbehaviour: a field beyond its bound, a value that a closed list does not
  have, something that is no array or does not begin with an integer. The link is closed, and the device is not spoken
  to for ten minutes.

So new messages, and new fields at the end, keep the number. A new number is needed to remove or change a field, to
widen a bound or a closed list, to sign something else, and for a message that the other end must understand.

Agents with different numbers read each other's number in `Hello` and end the link; neither is banned for it. They
seldom meet, because agents ignore other numbers in mDNS, and a coordinator turns an agent with another number away for
ten minutes. Agents of each number then share among themselves: the office fetches one copy more, and the video plays.
So that the number can be read under every number, three things never change: the frame, the TLS protocol name `ecdn/1`,
and the fields that `Hello` and `Here` have now.
"""

PROTOCOL = 1
