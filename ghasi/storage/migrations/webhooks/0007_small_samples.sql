-- Busy tables are analyzed often while they are young: by few rows, without the texts (storage.sample_little).
SELECT storage.sample_little(busy)
FROM unnest('{webhooks.events, webhooks.deliveries, webhooks.outbox}'::regclass[]) AS busy;
