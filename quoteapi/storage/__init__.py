"""The database: models, queries, migrations, and the engines that hide which database it is."""
