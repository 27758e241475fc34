"""What a run left behind: settings, records, its folder, statistics, criteria, verdicts, summary and charts."""
