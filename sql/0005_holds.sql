-- When to look at a held order: an index of all orders by their state and deadline would be paid for by
-- those that were never held too. A row is a reminder and no more; what counts is the order's own row.
-- Whoever inserts a held order inserts its reminder in the same transaction; expiry alone moves it
-- and takes it away.

CREATE TABLE IF NOT EXISTS holds (
  expires_at DATETIME(3) NOT NULL COMMENT 'when to look; of a held order never after its own deadline',
  order_id BINARY(16) NOT NULL,
  PRIMARY KEY (expires_at, order_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

INSERT IGNORE INTO holds (expires_at, order_id)
  SELECT expires_at, order_id FROM orders WHERE state = 'held' AND expires_at IS NOT NULL;
