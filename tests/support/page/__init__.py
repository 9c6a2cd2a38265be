"""What tests of the page use beside Chromium: Firefox, and its modules in Node."""
