-- The record of changes: a row for each change that somebody has asked of an item or of the default
-- strategy, inserted by the transaction that makes the change. Rebuilds change no terms and leave none. The id is chosen before
-- the first attempt, so that a COMMIT whose answer was lost is recognised, and none is made twice.
CREATE TABLE IF NOT EXISTS changes (
  change_id BINARY(16) NOT NULL COMMENT 'UUIDv7, like an order_id: when the change began, and the slot',
  sku VARBINARY(64) NULL COMMENT 'NULL: the default strategy was changed, on the first shard',
  who VARBINARY(64) NOT NULL COMMENT 'the name of the token',
  request_id VARBINARY(64) NOT NULL,
  reason VARBINARY(255) NULL,
  idempotency_key VARBINARY(255) NULL,
  request_digest BIGINT UNSIGNED NULL COMMENT 'of a change with a key; a repeat must match',
  epoch BIGINT UNSIGNED NOT NULL COMMENT 'of the item since the change; of one that was deleted, its last',
  old_terms VARBINARY(1024) NULL COMMENT 'JSON of the terms that differ; NULL: the item was created',
  new_terms VARBINARY(1024) NULL COMMENT 'likewise; NULL: the item was deleted',
  PRIMARY KEY (change_id),
  UNIQUE KEY changes_idempotency (sku, idempotency_key),
  KEY changes_sku (sku, change_id),
  KEY changes_who (who, change_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
-- An older binary changes items and leaves no record of it.
UPDATE shard_identity SET min_binary = GREATEST(min_binary, 12);
