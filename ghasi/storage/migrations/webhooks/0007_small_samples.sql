-- Busy tables are analyzed often while they are young: by few rows, without the texts (storage.sample_little).
SELECT storage.sample_little('webhooks.events'), storage.sample_little('webhooks.deliveries');
