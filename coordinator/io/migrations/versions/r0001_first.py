"""Tenant, tokens, devices, where they were seen, and the site map."""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "tenant",
        sa.Column("tenant", sa.String(36), primary_key=True),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("created_utc", sa.Float, nullable=False),
        sa.Column("url", sa.String(260), nullable=False),
    )
    op.create_table(
        "token",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("created_utc", sa.Float, nullable=False),
        sa.Column("expires_utc", sa.Float, nullable=False),
        sa.Column("uses_max", sa.Integer, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("networks", sa.Text, nullable=False),
    )
    op.create_table(
        "device",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("enrolled_utc", sa.Float, nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("key_seen", sa.Boolean, nullable=False),
        sa.Column("former", sa.String(64), nullable=False),
        sa.Column("ends_utc", sa.Float, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_table(
        "sighting",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("seen_utc", sa.Float, nullable=False),
        sa.Column("remote", sa.String(64), nullable=False),
        sa.Column("networks", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
    )
    op.create_table(
        "site_map",
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("imported_utc", sa.Float, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
