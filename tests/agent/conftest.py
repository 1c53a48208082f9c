"""After each test of this floor: no stray task, socket or thread."""

from tests.io.conftest import nothing_left, tenant

__all__ = ["nothing_left", "tenant"]
