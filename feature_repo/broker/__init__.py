"""The one seam to a broker: streams of JSON records by bucket, and their intake into the inbox."""
