// Loaded before Swagger UI: links within the page are the browser's own. What Swagger UI scrolls with would take them
// over otherwise, and move the page without the focus: the link that skips to the content would lead nowhere.
window.noZensmooth = true;
