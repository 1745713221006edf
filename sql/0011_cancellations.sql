-- The cancels that came with a key, each inserted by the transaction that gave the units back: so a
-- repeat is known for one. Keys are per order here, and have nothing to do with those of purchases.
CREATE TABLE IF NOT EXISTS cancellations (
  order_id BINARY(16) NOT NULL,
  idempotency_key VARBINARY(255) NOT NULL,
  quantity INT UNSIGNED NOT NULL COMMENT 'units asked for; 0: all that the order had',
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (order_id, idempotency_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
-- An older binary takes a cancel of some units for one of all, and knows no repeat of it: sent to it by
-- a balancer, the repeat of an answer that was lost would cancel the order.
UPDATE shard_identity SET min_binary = GREATEST(min_binary, 11);
