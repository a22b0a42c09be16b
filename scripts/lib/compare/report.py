"""Medians, ratios and budgets: from raw rounds to what is printed and written."""

import statistics

from . import persist, repl, types

# (what, workloads, figure, direction, bound): the ratio Gyre / Valkey must keep to the bound. Numbers are
# those of perf/budgets.md.
RATIO_BUDGETS = [
    ("CPU per request, P=1, saturated", ["sat-set-p1", "sat-get-p1"], "cpu_us", "<=", 0.72),
    ("CPU per request, P=1, redis-benchmark", ["rb-set-p1", "rb-get-p1"], "cpu_us", "<=", 0.92),
    ("CPU per request, P=16, saturated", ["sat-set-p16", "sat-get-p16"], "cpu_us", "<=", 0.70),
    ("CPU per request, P=16, redis-benchmark", ["rb-set-p16", "rb-get-p16"], "cpu_us", "<=", 0.70),
    ("throughput, P=1, saturated", ["sat-set-p1", "sat-get-p1"], "requests_per_s", ">=", 1.4),
    ("throughput, P=16, saturated", ["sat-set-p16", "sat-get-p16"], "requests_per_s", ">=", 1.4),
    ("p99.9 at equal offered load", ["open-set-p1", "open-get-p1"], "p99_9_us", "<=", 1.0),
    ("RSS per key, 11 B + 64 B", ["memory"], "rss_per_key", "<=", 0.80),
    ("CPU per request of a data type, P=16", [f"type-{name}-p16" for name in types.COMMANDS], "cpu_us", "<=", 0.75),
    ("RSS per value or element", [f"type-memory-{name}" for name in types.MEMORY], "rss_per_key", "<=", 0.85),
    ("CPU per request, 5 M members", [f"type-large-{name}" for name in types.LARGE_COMMANDS], "cpu_us", "<=", 1.0),
]
SHARDS_BUDGET = 1.4
IDLE_BUDGET_PERCENT = 0.2
# A client core busier than this, next to a server core less busy than that, says the client was the limit.
CLIENT_FULL, SERVER_FULL = 0.95, 0.95
# Other processes on more cores than this disturb a figure.
DISTURBED_CORES = 0.05

COLUMNS = [
    ("requests_per_s", "requests/s", "{:,.0f}"),
    ("cpu_us", "CPU us/request", "{:.3f}"),
    ("server_share", "server core", "{:.0%}"),
    ("client_share", "client core", "{:.0%}"),
    ("p50_us", "p50 us", "{:,.0f}"),
    ("p99_us", "p99 us", "{:,.0f}"),
    ("p99_9_us", "p99.9 us", "{:,.0f}"),
    ("rss_per_key", "RSS B/key", "{:.1f}"),
    ("idle_percent", "idle CPU %", "{:.3f}"),
    ("worst_ms", "worst gap ms", "{:.2f}"),
    ("quiet_ms", "gap before ms", "{:.2f}"),
    ("prober_late_ms", "prober late ms", "{:.2f}"),
    ("fork_ms", "fork ms", "{:.2f}"),
    ("cpu_s", "CPU s", "{:.2f}"),
    ("seconds", "seconds", "{:.2f}"),
    ("cpu_us_per_key", "CPU us/key", "{:.2f}"),
    ("keys_per_s", "keys/s", "{:,.0f}"),
    ("mb_per_s", "MB/s of file", "{:.0f}"),
    ("cow_mib", "copied MiB", "{:.1f}"),
    ("extra_mib", "extra memory MiB", "{:.1f}"),
    ("extra_disk", "disk at most / before", "{:.2f}"),
    ("rss_mib", "RSS MiB", "{:,.0f}"),
    ("commands_per_s", "commands/s applied", "{:,.0f}"),
    ("sync_s", "sync s", "{:.2f}"),
    ("level_s", "s until level", "{:.2f}"),
    ("syncs", "full syncs", "{:.0f}"),
    ("lag_ms", "lag ms", "{:.2f}"),
    ("lag_p99_ms", "lag p99 ms", "{:.2f}"),
    ("lag_bytes", "lag bytes", "{:,.0f}"),
    ("lag_most_bytes", "lag at most", "{:,.0f}"),
    ("switch_ms", "switch ms", "{:,.0f}"),
    ("switch_most_ms", "switch at most ms", "{:,.0f}"),
]
# What a server is judged by: the first of these that was measured.
MAIN_FIGURES = ["sync_s", "lag_ms", "switch_ms", "cpu_us", "rss_per_key", "idle_percent", "cpu_s", "extra_mib", "worst_ms"]


def medians(rounds):
    """{figure: median} of a list of dicts with equal keys; lists and missing figures are left out."""
    names = [name for name, value in rounds[0].items() if isinstance(value, (int, float))]
    return {name: statistics.median(one[name] for one in rounds) for name in names}


def spread(rounds, figure):
    """(max - min) / median: how far apart the rounds are."""
    values = [one[figure] for one in rounds]
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def ratio(summary, workload, figure, server, against):
    try:
        return summary[workload][server][figure] / summary[workload][against][figure]
    except (KeyError, ZeroDivisionError):
        return None


def summarise(raw):
    """{workload: {server: {figure: median}}} from {workload: {server: [round, ...]}}."""
    return {workload: {server: medians(rounds) for server, rounds in servers.items() if rounds}
            for workload, servers in raw.items()}


def budget_rows(summary):
    """(what, bound, Gyre / Valkey, Gyre / Redis, met) per budget and workload; met is None if not measured."""
    rows = []
    for what, workloads, figure, direction, bound in RATIO_BUDGETS:
        for workload in workloads:
            valkey, redis = (ratio(summary, workload, figure, "gyre", against)
                             for against in ("valkey", "redis"))
            met = None
            if valkey is not None:
                met = valkey <= bound if direction == "<=" else valkey >= bound
            rows.append((f"{what} ({workload})", f"{direction} {bound:.2f}", valkey, redis, met))
    for workload in [name for name in summary if name.startswith("shards-")]:
        two = ratio(summary, workload, "cpu_us", "gyre-2-shards", "gyre-1-shard")
        met = None if two is None else two <= SHARDS_BUDGET
        rows.append((f"two shards / one shard, CPU per request ({workload})", f"<= {SHARDS_BUDGET}", two, None, met))
    rows += persist.budget_rows(summary) + repl.budget_rows(summary)
    idle = summary.get("idle", {}).get("gyre", {}).get("idle_percent")
    met = None if idle is None else idle < IDLE_BUDGET_PERCENT
    rows.append(("idle CPU of one shard, % of a core", f"< {IDLE_BUDGET_PERCENT}", idle, None, met))
    return rows


def table(head, rows):
    """A Markdown table with aligned columns, readable as it stands."""
    cells = [head] + rows
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    def line(row):
        first = row[0].ljust(widths[0])
        return "| " + " | ".join([first] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]) + " |"
    rule = "| " + " | ".join(["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]) + " |"
    return "\n".join([line(head), rule] + [line(row) for row in rows])


def figure_table(raw, summary):
    columns = [column for column in COLUMNS
               if any(column[0] in one for servers in summary.values() for one in servers.values())]
    rows = []
    for workload, servers in summary.items():
        for server, one in servers.items():
            cells = [form.format(one[name]) if name in one else "" for name, _, form in columns]
            main = next((name for name in MAIN_FIGURES if name in one), None)
            marks = []
            if (one.get("client_share", 0) > CLIENT_FULL and one.get("server_share", 1) < SERVER_FULL
                    and workload.startswith(("sat-", "repl-master-"))):
                marks.append("client-bound")
            if one.get("others_cores", 0) > DISTURBED_CORES:
                marks.append(f"others used {one['others_cores']:.1f} cores")
            marks += sorted({each["notes"] for each in raw[workload][server] if "notes" in each})
            against = ratio(summary, workload, main, server, "valkey") if main else None
            rows.append([workload, server, *cells,
                         f"{against:.2f}" if against is not None else "",
                         f"{spread(raw[workload][server], main):.0%}" if main else "",
                         ", ".join(marks)])
    head = ["workload", "server", *[title for _, title, _ in columns], "cost / Valkey", "spread", "notes"]
    return table(head, rows)


def budget_table(summary):
    def number(value):
        return "-" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    word = {None: "not measured", True: "met", False: "MISSED"}
    rows = [[what, bound, number(valkey), number(redis), word[met]]
            for what, bound, valkey, redis, met in budget_rows(summary)]
    return table(["budget", "bound", "Gyre / Valkey", "Gyre / Redis", ""], rows)


def markdown(name, about, raw, summary, plots):
    """The whole report; `about` is a list of lines on machine, versions and what was left out."""
    parts = [f"# Comparison: {name}", "\n".join(f"- {line}" for line in about),
             "## Budgets", budget_table(summary),
             "## Medians",
             "Cost is CPU per request, RSS per key, idle CPU, CPU of a load, extra memory of a rewrite, the worst reply gap "
             "during a save, the time of a full sync or a switch, or the lag; spread is (max - min) / median of it over the "
             "rounds. The floor parses requests and answers fixed bytes: no server of this build can cost less.",
             figure_table(raw, summary)]
    parts += [f"![{title}]({path})" for title, path in plots]
    return "\n\n".join(parts) + "\n"
