"""The files and folders that the service knows by their place."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""
BUNDLED_CATALOGUE = ROOT / "quote_database.db"
"""The catalogue that comes with the project. It is only ever read."""
DOTENV = ROOT / ".env"
LAMBDA_FOLDER = Path("/tmp")  # noqa: S108 there is no other on Lambda
"""The folder that each container of AWS Lambda has for itself."""
