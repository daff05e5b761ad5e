import { describe, expect, test } from "bun:test";
import { metrics } from "../../../src/metrics/catalog.ts";
import { exposition, type Family, formatFor } from "../../../src/metrics/exposition.ts";

const sent: Family = {
  metric: metrics.memberSent,
  samples: [
    { labels: ["KEY=", 'a "quoted" \\ name\nof two lines'], value: 3 },
    { labels: ["OTHER=", "b"], value: Number.NaN },
  ],
};

describe("metrics as text", () => {
  test("are named by sample in Prometheus' own format", () => {
    expect(exposition([sent], "prometheus")).toBe(
      "# HELP meshvpn_member_sent_bytes_total To it, through the tunnel\n" +
        "# TYPE meshvpn_member_sent_bytes_total counter\n" +
        'meshvpn_member_sent_bytes_total{identity="KEY=",' +
        'member="a \\"quoted\\" \\\\ name\\nof two lines"} 3\n',
    );
  });

  test("are named by family in OpenMetrics, which has an end", () => {
    const lines = exposition([sent], "openmetrics").split("\n");
    expect(lines[1]).toBe("# TYPE meshvpn_member_sent_bytes counter");
    expect(lines[2]).toStartWith("meshvpn_member_sent_bytes_total{");
    expect(lines.slice(-2)).toEqual(["# EOF", ""]);
  });

  test("are in the format that was asked for", () => {
    expect(formatFor(null)).toBe("prometheus");
    expect(formatFor("text/plain")).toBe("prometheus");
    expect(formatFor("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")).toBe(
      "openmetrics",
    );
  });
});
