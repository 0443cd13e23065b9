-- The API key and the client secret of the specs. spec/support/canary.sh generates new ones, and
-- searches for them in everything that the specs print and leave behind.
return {
  key = os.getenv("LEAT_TEST_KEY") or "1|canary-5d7c1b9e-of-the-specs",
  secret = os.getenv("LEAT_TEST_SECRET") or "s&cret-12345678",
}
