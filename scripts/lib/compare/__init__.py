"""What scripts/compare is made of: servers, measurements, statistics, reports."""
