-- Busy tables are analyzed often while they are young: by few rows (storage.sample_little).
SELECT storage.sample_little('billing.charges'), storage.sample_little('billing.outbox');
