"""What holds for all tests: laws take their time on a busy machine, as nothing here is asserted by the clock."""

from hypothesis import settings

settings.register_profile("ecdn", deadline=None)
settings.load_profile("ecdn")
