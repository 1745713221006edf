-- Who does what only one node need do. A lease saves work; it never gives safety.

CREATE TABLE IF NOT EXISTS leases (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  holder VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'incarnation of the process',
  fence BIGINT UNSIGNED NOT NULL COMMENT 'goes up whenever the holder changes',
  until DATETIME(3) NOT NULL COMMENT 'by the clock of this server; then others may take it',
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
