"""Run with: python3 -m unittest discover -s scripts/lib"""

import unittest
import xml.dom.minidom

from compare import measure, report, svg


def rounds(**figures):
    return [{name: values[number] for name, values in figures.items()}
            for number in range(len(next(iter(figures.values()))))]


class Statistics(unittest.TestCase):
    def test_medians_ignore_what_is_not_a_number(self):
        found = report.medians(rounds(cpu_us=[3.0, 1.0, 2.0], curve=[[], [], []]))
        self.assertEqual(found, {"cpu_us": 2.0})

    def test_spread_is_relative_to_the_median(self):
        self.assertEqual(report.spread(rounds(cpu_us=[1.0, 2.0, 3.0]), "cpu_us"), 1.0)


class Budgets(unittest.TestCase):
    def verdicts(self, gyre_cpu, valkey_cpu=10.0):
        raw = {"sat-set-p1": {"gyre": rounds(cpu_us=[gyre_cpu]), "valkey": rounds(cpu_us=[valkey_cpu])}}
        rows = report.budget_rows(report.summarise(raw))
        return {what: (valkey, met) for what, _, valkey, _, met in rows}

    def test_a_budget_is_met_missed_or_not_measured(self):
        name = "CPU per request, P=1, saturated (sat-set-p1)"
        self.assertEqual(self.verdicts(7.2)[name], (0.72, True))
        self.assertEqual(self.verdicts(7.3)[name], (0.73, False))
        self.assertEqual(self.verdicts(7.3)["RSS per key, 11 B + 64 B (memory)"], (None, None))

    def test_throughput_must_be_above_its_bound(self):
        raw = {"sat-get-p16": {"gyre": rounds(requests_per_s=[139.0]), "valkey": rounds(requests_per_s=[100.0])}}
        rows = {row[0]: row for row in report.budget_rows(report.summarise(raw))}
        self.assertIs(rows["throughput, P=16, saturated (sat-get-p16)"][4], False)

    def test_two_shards_are_compared_with_one(self):
        raw = {"shards-get-p1": {"gyre-1-shard": rounds(cpu_us=[5.0]), "gyre-2-shards": rounds(cpu_us=[6.5])}}
        row = next(row for row in report.budget_rows(report.summarise(raw)) if row[0].startswith("two shards"))
        self.assertEqual((row[2], row[4]), (1.3, True))


    def test_a_fork_of_one_shard_is_compared_with_one_of_all(self):
        raw = {"persist-stall-1g": {"gyre-1-fork": rounds(fork_ms=[10.0]), "gyre-2-fork": rounds(fork_ms=[6.0]),
                                    "gyre-4-fork": rounds(fork_ms=[4.0]), "gyre-1-forkless": rounds(added_ms=[1.5])}}
        rows = {row[0]: (row[2], row[4]) for row in report.budget_rows(report.summarise(raw))}
        self.assertEqual(rows["fork of one of 2 shards / one fork of all (persist-stall-1g)"], (0.6, True))
        self.assertEqual(rows["fork of one of 4 shards / one fork of all (persist-stall-1g)"], (0.4, False))
        self.assertEqual(rows["forkless, 1 shards: longest added stall, ms (persist-stall-1g)"], (1.5, False))
        self.assertEqual(rows["forkless, 2 shards: longest added stall, ms (persist-stall-1g)"], (None, None))


class Parsing(unittest.TestCase):
    def test_warnings_before_the_csv_of_redis_benchmark_are_skipped(self):
        output = 'WARNING: Could not fetch server CONFIG\n"test","rps","p50_latency_ms"\n"SET","99900.1","0.3"\n'
        self.assertEqual(measure.parse_redis_benchmark(output)["rps"], "99900.1")

    def test_no_csv_is_an_error(self):
        with self.assertRaises(RuntimeError):
            measure.parse_redis_benchmark("Could not connect")


class Charts(unittest.TestCase):
    def test_charts_are_well_formed_and_show_every_server(self):
        bars = svg.ratio_bars("a < b", [("sat-get-p1", {"gyre": 0.7, "redis": 9.0})], {"sat-get-p1": 0.72})
        curve = [(50.0, 100.0), (99.0, 900.0), (100.0, 5000.0)]
        for text in (bars, svg.latency_curves("latency", {"gyre": curve, "redis": curve})):
            xml.dom.minidom.parseString(text)
            self.assertIn(">gyre<", text)
            self.assertIn(">redis<", text)

    def test_a_percentile_is_that_of_the_first_step_that_reaches_it(self):
        self.assertEqual(svg.at_percentile([(50.0, 1.0), (99.0, 2.0)], 98), 2.0)
        self.assertEqual(svg.at_percentile([(50.0, 1.0), (99.0, 2.0)], 99.9), 2.0)


if __name__ == "__main__":
    unittest.main()
