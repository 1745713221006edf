-- Keys of up to 255 characters: what clients send, at the most. The length of a value is one byte as
-- before, so that no row is rewritten.
ALTER TABLE orders MODIFY COLUMN idempotency_key VARBINARY(255) NULL, ALGORITHM=INPLACE, LOCK=NONE;
-- "k" as a quoted string is the key k. Keys that were stored with their quotes are found without them
-- from now on; where one buyer has both, the one without stays the one that is found.
UPDATE IGNORE orders
  SET idempotency_key = SUBSTRING(idempotency_key, 2, LENGTH(idempotency_key) - 2)
  WHERE LEFT(idempotency_key, 1) = '"' AND RIGHT(idempotency_key, 1) = '"'
    AND LENGTH(REPLACE(idempotency_key, '"', '')) = LENGTH(idempotency_key) - 2
    AND LENGTH(idempotency_key) > 2 AND INSTR(idempotency_key, CHAR(92)) = 0;
-- An older binary takes "k" and k for two keys, and does not take over an order with a longer one.
UPDATE shard_identity SET min_binary = GREATEST(min_binary, 9);
