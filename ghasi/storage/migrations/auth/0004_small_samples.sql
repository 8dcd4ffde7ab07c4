-- As every outbox: analyzed by few rows, without the JSON (storage.sample_little).
SELECT storage.sample_little('auth.outbox');
