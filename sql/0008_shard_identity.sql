-- Which deployment and shard this database is, and which slots it holds. One row. A service compares it
-- with its configuration on every new connection, so that none sells from the wrong server.
-- `holdfast migrate` fills it in; until then `deployment` is empty.
-- min_binary: a binary that does not know this migration must not run here. A migration that older
-- binaries cannot live with raises it to its own number:
--   UPDATE shard_identity SET min_binary = GREATEST(min_binary, 9)

CREATE TABLE IF NOT EXISTS shard_identity (
  one TINYINT UNSIGNED NOT NULL COMMENT 'always 1: there is one row',
  deployment VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' COMMENT 'empty: not stamped yet',
  shard VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' COMMENT 'its name in the configuration',
  slot_first SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  slot_last SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  min_binary INT UNSIGNED NOT NULL COMMENT 'the migration that a binary must know to run here',
  stamped_at DATETIME(3) NULL,
  PRIMARY KEY (one),
  CONSTRAINT shard_identity_one_row CHECK (one = 1)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

INSERT IGNORE INTO shard_identity (one, min_binary) VALUES (1, 8);
