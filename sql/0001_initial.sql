-- The truth of one shard. Every shard has the same tables; an item's rows and its
-- orders' rows are all on the shard that owns the item's slot.
-- Times are UTC. sku, buyer_id and idempotency_key compare as bytes.

CREATE TABLE IF NOT EXISTS inventory (
  sku VARBINARY(64) NOT NULL,
  bucket SMALLINT UNSIGNED NOT NULL COMMENT 'a hot item may later be split; 0 until then',
  slot SMALLINT UNSIGNED NOT NULL COMMENT 'hash of sku, 0..1023',
  total BIGINT NOT NULL COMMENT 'units on sale',
  allocated_total BIGINT NOT NULL DEFAULT 0 COMMENT 'units of all orders ever inserted live; only grows',
  released_total BIGINT NOT NULL DEFAULT 0 COMMENT 'units of all orders that left a live state; only grows',
  epoch_allocated_total BIGINT NOT NULL DEFAULT 0 COMMENT 'allocated_total when this epoch began',
  epoch_released_total BIGINT NOT NULL DEFAULT 0 COMMENT 'released_total when this epoch began',
  version BIGINT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'goes up with every change of the row',
  epoch BIGINT UNSIGNED NOT NULL COMMENT 'goes up with every rebuild of the gate and every change of strategy or terms',
  per_buyer_limit INT UNSIGNED NOT NULL COMMENT 'live units one buyer may own; 0: no limit',
  limit_epoch BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'epoch that last lowered the limit; earlier orders are left alone',
  hold_seconds INT UNSIGNED NOT NULL COMMENT '0: born confirmed',
  starts_at DATETIME(3) NULL,
  ends_at DATETIME(3) NULL,
  strategy ENUM('lua','watch','optimistic','serializable') NOT NULL,
  acknowledge ENUM('committed','accepted') NOT NULL,
  rebuild_token BIGINT UNSIGNED NULL COMMENT 'who is rebuilding the gate',
  rebuild_until DATETIME(3) NULL COMMENT 'when others may take the rebuild over',
  created_at DATETIME(3) NOT NULL,
  updated_at DATETIME(3) NOT NULL,
  PRIMARY KEY (sku, bucket),
  KEY inventory_epoch (epoch),
  KEY inventory_slot (slot),
  CONSTRAINT inventory_not_oversold CHECK (allocated_total - released_total BETWEEN 0 AND total),
  CONSTRAINT inventory_window CHECK (starts_at IS NULL OR ends_at IS NULL OR starts_at < ends_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS orders (
  order_id BINARY(16) NOT NULL COMMENT 'UUIDv7; its rand_a bits are the slot',
  order_uuid CHAR(36) AS (LOWER(CONCAT(
    SUBSTR(HEX(order_id), 1, 8), '-', SUBSTR(HEX(order_id), 9, 4), '-', SUBSTR(HEX(order_id), 13, 4), '-',
    SUBSTR(HEX(order_id), 17, 4), '-', SUBSTR(HEX(order_id), 21, 12)))) VIRTUAL
    COMMENT 'the id as the API shows it, for people',
  sku VARBINARY(64) NULL COMMENT 'NULL only in a rejected row that was decided before its owner wrote it',
  bucket SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  buyer_id VARBINARY(128) NULL,
  quantity INT UNSIGNED NULL,
  state ENUM('held','confirmed','cancelled','expired','rejected') NOT NULL,
  reject_code VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'why, of a rejected order: a code of the HTTP API',
  original_order_id BINARY(16) NULL COMMENT 'of the loser of an idempotency key: the winner',
  idempotency_key VARBINARY(128) NULL,
  request_digest BIGINT UNSIGNED NULL COMMENT 'XXH3 of the request body as understood; a repeat must match',
  epoch BIGINT UNSIGNED NOT NULL COMMENT 'the epoch of the item under which the order was admitted',
  created_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3) NULL COMMENT 'deadline of the hold',
  updated_at DATETIME(3) NOT NULL,
  PRIMARY KEY (order_id),
  UNIQUE KEY orders_idempotency (sku, buyer_id, idempotency_key),
  KEY orders_buyer (buyer_id, order_id),
  KEY orders_expiry (state, expires_at),
  CONSTRAINT orders_quantity CHECK (quantity > 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS settings (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  value VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  updated_at DATETIME(3) NOT NULL,
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
