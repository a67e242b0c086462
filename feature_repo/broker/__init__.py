"""The one seam to a broker: streams of JSON records, one for each bucket of the log."""
