-- A cancel may give back some of an order's units; `quantity` is then what the order has left. With
-- `given_back` it is what the order had at first, which is what its item once allocated for it.
ALTER TABLE orders
  ADD COLUMN given_back INT UNSIGNED NOT NULL DEFAULT 0
    COMMENT 'units by which quantity fell; those of a cancelled or expired order stay in quantity';
