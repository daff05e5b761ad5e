/**
 * The text that a Prometheus reads: its own format 0.0.4, or OpenMetrics 1.0. Pure: families in, text
 * out. What is not a number is left out rather than made up.
 */
import type { Metric } from "./catalog.ts";

export interface Sample {
  /** In the order of the metric's labels. */
  readonly labels: readonly string[];
  readonly value: number;
}

export interface Family {
  readonly metric: Metric;
  readonly samples: readonly Sample[];
}

export type Format = "prometheus" | "openmetrics";

export const contentTypes: Readonly<Record<Format, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** What an Accept header asks for. */
export function formatFor(accept: string | null): Format {
  return accept?.includes("application/openmetrics-text") === true ? "openmetrics" : "prometheus";
}

export function exposition(families: readonly Family[], format: Format): string {
  const text = families.map((family) => familyText(family, format)).join("");
  return format === "openmetrics" ? `${text}# EOF\n` : text;
}

function familyText({ metric, samples }: Family, format: Format): string {
  const { kind, help, labels } = metric;
  const sampleName = kind === "counter" ? `${metric.name}_total` : metric.name;
  // OpenMetrics names the family, the older format the sample.
  const name = format === "openmetrics" ? metric.name : sampleName;
  const lines = [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${kind}`];
  for (const sample of samples) {
    if (!Number.isFinite(sample.value)) continue;
    const pairs = labels.map((label, at) => `${label}="${escapeLabel(sample.labels[at] ?? "")}"`);
    const set = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
    lines.push(`${sampleName}${set} ${sample.value}`);
  }
  return `${lines.join("\n")}\n`;
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
