-- The reconciler hands these back first; no sale changes the index.
ALTER TABLE inventory ADD INDEX inventory_gate_down (gate_down, sku);
