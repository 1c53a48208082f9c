"""The tables of the database as they are now; the steps in `migrations` lead there, and a test compares the two."""

import sqlalchemy as sa

METADATA = sa.MetaData()

TENANT = sa.Table(
    "tenant",
    METADATA,
    sa.Column("tenant", sa.String(36), primary_key=True),
    sa.Column("salt", sa.String(64), nullable=False),
    sa.Column("created_utc", sa.Float, nullable=False),
    sa.Column("url", sa.String(260), nullable=False),
)
TOKEN = sa.Table(
    "token",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("created_utc", sa.Float, nullable=False),
    sa.Column("expires_utc", sa.Float, nullable=False),
    sa.Column("uses_max", sa.Integer, nullable=False),
    sa.Column("uses", sa.Integer, nullable=False),
    sa.Column("networks", sa.Text, nullable=False),
)
DEVICE = sa.Table(
    "device",
    METADATA,
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
SIGHTING = sa.Table(
    "sighting",
    METADATA,
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("seen_utc", sa.Float, nullable=False),
    sa.Column("remote", sa.String(64), nullable=False),
    sa.Column("networks", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
)
SITE_MAP = sa.Table(
    "site_map",
    METADATA,
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("imported_utc", sa.Float, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
