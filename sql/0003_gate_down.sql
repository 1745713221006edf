ALTER TABLE inventory
  ADD COLUMN gate_down BOOLEAN NOT NULL DEFAULT FALSE
    COMMENT 'Redis is away: the optimistic strategy stands in until the gate is restored';
