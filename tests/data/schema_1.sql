-- The tables of a working database as the release with schema 1 made them.
CREATE TABLE "quote" ("id" INTEGER NOT NULL PRIMARY KEY, "quote" TEXT NOT NULL, "author" VARCHAR(255) NOT NULL, "category" VARCHAR(255) NOT NULL, "source" VARCHAR(255) NOT NULL, "created_at" DATETIME NOT NULL, "fingerprint" VARCHAR(32) NOT NULL, "shuffle" INTEGER NOT NULL, "length" INTEGER NOT NULL, "author_key" VARCHAR(255) NOT NULL, "category_key" VARCHAR(255) NOT NULL);
CREATE TABLE "dailyquote" ("date" DATE NOT NULL PRIMARY KEY, "quote_id" INTEGER NOT NULL, FOREIGN KEY ("quote_id") REFERENCES "quote" ("id"));
CREATE UNIQUE INDEX "quote_fingerprint" ON "quote" ("fingerprint");
CREATE INDEX "quote_shuffle" ON "quote" ("shuffle");
CREATE INDEX "quote_length" ON "quote" ("length");
CREATE INDEX "quote_author_key_shuffle" ON "quote" ("author_key", "shuffle");
CREATE INDEX "quote_category_key_shuffle" ON "quote" ("category_key", "shuffle");
CREATE INDEX "quote_created_at_id" ON "quote" ("created_at", "id");
CREATE INDEX "dailyquote_quote_id" ON "dailyquote" ("quote_id");
PRAGMA user_version = 1;
