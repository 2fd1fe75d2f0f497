"""Paths of the project's files and folders."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUNDLED_CATALOGUE = ROOT / "quote_database.db"
"""The catalogue that comes with the project; it is never written to."""
DOTENV = ROOT / ".env"
LAMBDA_FOLDER = Path("/tmp")  # noqa: S108 the only folder that a Lambda container can write to
