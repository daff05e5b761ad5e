/**
 * The settings that a running daemon takes over when its configuration changes, with what hangs on
 * them: seeds and their names, the HTTP places, the log's form. Owns those and the configuration as
 * it holds now; the node and the data plane are the daemon's.
 */
import type { Seed } from "../mesh/node.ts";
import { HttpServer, type HttpSources } from "./http.ts";
import type { Log } from "./log.ts";
import { changedSettings, concernsRoutes, type ReloadReport, takeOver } from "./reload.ts";
import { type SeedName, SeedResolver } from "./seeds.ts";
import type { MeshConfig } from "./setting.ts";
import { systemResolver } from "./surroundings.ts";

export interface Configuration {
  readonly config: MeshConfig;
  /** The same sources again. */
  readonly reread: () => MeshConfig;
}

export interface LiveDuties extends HttpSources {
  /** What `mesh` stands for among the HTTP places. */
  meshAddress(): string;
  /** Where the network was found when this node came into it. */
  learntSeeds(): readonly SeedName[];
  seedsChanged(seeds: readonly Seed[]): void;
  announceChanged(): void;
  /** What is offered to members, or taken up of their offers. */
  routesChanged(): void;
}

export class LiveSettings {
  #config: MeshConfig;
  #seeds: SeedResolver;
  readonly #reread: () => MeshConfig;
  readonly #log: Log;
  readonly #duties: LiveDuties;
  readonly #http: HttpServer;

  constructor({ config, reread }: Configuration, log: Log, duties: LiveDuties) {
    this.#config = config;
    this.#reread = reread;
    this.#log = log;
    this.#duties = duties;
    this.#http = new HttpServer(duties);
    this.#seeds = this.#resolver();
  }

  /** As it holds now. */
  get config(): MeshConfig {
    return this.#config;
  }

  /** The seeds as they were named, for doctor. */
  seedPlaces(): ReturnType<SeedResolver["places"]> {
    return this.#seeds.places();
  }

  /** Nobody is reached: the names of seeds are resolved before their time. */
  refreshSeeds(): void {
    this.#seeds.refresh();
  }

  pageAddress(): string | undefined {
    return this.#http.pageAddress();
  }

  /** MeshError where an HTTP place cannot be had. */
  start(): void {
    this.#listen();
    this.#seeds.start();
  }

  stop(): void {
    this.#http.stop();
    this.#seeds.stop();
  }

  /** MeshError for a configuration that is wrong, of which nothing is taken over then. */
  reload(): Pick<ReloadReport, "changed" | "restart"> {
    const before = this.#config;
    const wanted = this.#reread();
    const report = changedSettings(before, wanted);
    this.#config = takeOver(before, wanted);
    if (report.changed.includes("http")) this.#moveHttp(before);
    this.#log.configure(this.#config.log_level, this.#config.log_format);
    if (report.changed.includes("seed")) {
      this.#seeds.stop();
      this.#seeds = this.#resolver();
      this.#seeds.start();
    }
    if (report.changed.includes("announce")) this.#duties.announceChanged();
    if (concernsRoutes(report.changed)) this.#duties.routesChanged();
    if (report.restart.length > 0) {
      this.#log.warning(`${report.restart.join(", ")}: changed, and holds after a restart`);
    }
    return report;
  }

  /** Where a new place cannot be had, everything stays as it was. */
  #moveHttp(before: MeshConfig): void {
    this.#http.stop();
    try {
      this.#listen();
    } catch (error) {
      this.#http.stop();
      this.#config = before;
      this.#listen();
      throw error;
    }
  }

  #listen(): void {
    this.#http.listen(this.#config.http, this.#duties.meshAddress());
  }

  #resolver(): SeedResolver {
    return new SeedResolver([...this.#config.seed, ...this.#duties.learntSeeds()], {
      ...systemResolver((text) => this.#log.warning(text)),
      changed: (seeds) => this.#duties.seedsChanged(seeds),
    });
  }
}
