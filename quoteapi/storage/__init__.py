"""The database: models, queries, migrations and engines. Only here is it known which database it is."""
