/** What an administrator sees and changes: devices, queue, tenants, errors, and everybody's jobs. */

import { CallError, call, pause, stream } from "./connect.js";
import { ask, fill, loadStyle, make } from "./dom.js";
import { icon } from "./icons.js";
import { isFinal } from "./jobs.js";
import { seen } from "./visibility.js";
import { _, dataSize, duration, errorText, language, numeral, secondsOf, stateWord } from "./words.js";

/** @typedef {import("./types.js").ServerStatus} ServerStatus */
/** @typedef {import("./types.js").DeviceStatus} DeviceStatus */
/** @typedef {import("./types.js").TenantStatus} TenantStatus */
/** @typedef {import("./types.js").TenantJob} TenantJob */
/** @typedef {import("./types.js").JobState} JobState */

const INTERVAL = "2s";
const PAGE_SIZE = 50;

/** @type {JobState[]} */
const ACTIVE = ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_PAUSED"];

/** @type {import("./router.js").Show} */
export async function showAdmin({ signal }) {
  await loadStyle("css/admin.css");
  return new Administration(signal).element;
}

class Administration {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    this.trouble = make("div", { role: "status" });
    this.figures = make("dl", { class: "figures" });
    this.devices = make("div", { class: "devices" });
    this.tenants = make("tbody");
    this.errors = make("ul", { class: "errors" });
    this.jobList = new JobList(signal);
    this.element = make(
      "section",
      { class: "admin" },
      make("h1", {}, _("Administration")),
      this.trouble,
      this.figures,
      part(_("Devices"), this.devices),
      part(_("Everybody's paintings"), this.jobList.element),
      part(_("Tenants"), this.tenantTable()),
      part(_("Recent errors"), this.errors),
    );
    void this.follow();
  }

  tenantTable() {
    const heads = [_("Tenant"), _("Weight"), _("Waiting"), _("Being painted"), _("Paused"), _("Share of the last minute"), _("Device time"), _("Stored")];
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": _("Tenants") }, make("table", {}, make("thead", {}, head), this.tenants));
  }

  /** Shows the server's state as it changes, until the part is left. */
  async follow() {
    for (let attempt = 0; !this.signal.aborted; attempt += 1) {
      const signal = await seen(this.signal);
      try {
        for await (const status of stream("Admin/WatchStatus", { interval: INTERVAL }, { signal })) {
          attempt = 0;
          this.draw(status);
        }
      } catch (error) {
        if (this.signal.aborted) return;
        if (signal.aborted) continue;
        fill(this.trouble, make("p", { class: "notice error" }, errorText(error)));
        if (error instanceof CallError && error.code === "permission_denied") return;
      }
      await pause(attempt, this.signal);
    }
  }

  /** @param {ServerStatus} status */
  draw(status) {
    fill(this.trouble, status.trouble && make("p", { class: "notice error" }, status.trouble));
    fill(this.figures, ...figures(status));
    fill(this.devices, ...(status.devices ?? []).map(deviceCard));
    fill(this.tenants, ...(status.tenants ?? []).map(tenantRow));
    const errors = (status.recentErrors ?? []).map(errorItem);
    fill(this.errors, ...(errors.length ? errors : [make("li", { class: "quiet-text" }, _("None since the server was started."))]));
    this.jobList.changed();
  }
}

/** @param {string} title @param {HTMLElement} content */
function part(title, content) {
  return make("section", { class: "card" }, make("h2", {}, title), content);
}

/** @param {ServerStatus} status */
function figures(status) {
  const shown = [
    [_("Being painted"), numeral(status.runningJobs ?? 0)],
    [_("Waiting"), numeral(status.queuedJobs ?? 0)],
    [_("Paused"), numeral(status.pausedJobs ?? 0)],
    [_("Longest wait"), status.longestWait ? duration(secondsOf(status.longestWait) ?? 0) : "–"],
    [_("Open streams"), numeral(status.openStreams ?? 0)],
    [_("Memory"), Number(status.memoryBytes) ? dataSize(Number(status.memoryBytes)) : _("not known")],
    [_("Stored"), dataSize(Number(status.storedBytes ?? 0))],
    [_("Free disk"), dataSize(Number(status.freeDiskBytes ?? 0))],
    [_("Running for"), status.startTime ? duration((Date.parse(status.time ?? "") - Date.parse(status.startTime)) / 1000) : ""],
    [_("Version"), status.version ?? ""],
  ];
  return shown.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
}

/** @param {DeviceStatus} status */
function deviceCard(status) {
  const { device = {}, load = 0, evaluationsPerSecond = 0 } = status;
  const used = Number(status.usedMemoryBytes ?? 0);
  const memory = Number(device.memoryBytes ?? 0);
  const count = status.jobs?.length ?? 0;
  return make(
    "article",
    { class: "device" },
    make("h3", {}, device.name, " ", make("span", { class: `badge ${device.state}` }, deviceStateWord(device.state))),
    make("p", { class: "quiet-text" }, device.description, device.machine && ` · ${device.machine}`),
    gauge(_("Load"), load, _("{percent} %", { percent: Math.round(100 * load) })),
    memory > 0 && gauge(_("Memory"), used / memory, _("{used} of {all}", { used: dataSize(used), all: dataSize(memory) })),
    make(
      "p",
      { class: "quiet-text" },
      count === 1 ? _("One painting") : _("{count} paintings", { count }),
      " · ",
      _("{count} evaluations per second", { count: numeral(evaluationsPerSecond, evaluationsPerSecond < 10 ? 1 : 0) }),
      device.restarts ? ` · ${_("restarted {count} times", { count: device.restarts })}` : "",
    ),
  );
}

/** @param {string | undefined} state */
function deviceStateWord(state) {
  if (state === "DEVICE_STATE_READY") return _("ready");
  if (state === "DEVICE_STATE_STARTING") return _("starting");
  if (state === "DEVICE_STATE_DRAINING") return _("being taken out of use");
  return _("unknown");
}

/** @param {string} name @param {number} share 0 to 1. @param {string} words */
function gauge(name, share, words) {
  return make(
    "label",
    { class: "gauge" },
    make("span", {}, name),
    make("span", { class: "value" }, words),
    make("meter", { min: "0", max: "1", value: Math.min(1, share), "aria-valuetext": words }),
  );
}

/** @param {TenantStatus} tenant */
function tenantRow(tenant) {
  const share = tenant.recentShare ?? 0;
  const percent = _("{percent} %", { percent: Math.round(100 * share) });
  const cells = [numeral(tenant.weight ?? 0, 2), tenant.queuedJobs ?? 0, tenant.runningJobs ?? 0, tenant.pausedJobs ?? 0];
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, tenant.name || _("everybody"), tenant.administrator && make("span", { class: "badge" }, _("administrator"))),
    ...cells.map((text) => make("td", { class: "number" }, text)),
    make("td", { class: "share" }, make("meter", { min: "0", max: "1", value: share, "aria-label": percent }), make("span", {}, percent)),
    make("td", { class: "number" }, duration(secondsOf(tenant.deviceTime) ?? 0)),
    make("td", { class: "number" }, dataSize(Number(tenant.storedBytes ?? 0))),
  );
}

/** @param {import("./types.js").RecentError} error */
function errorItem({ time, message, tenant, device, job }) {
  const about = [time && new Date(time).toLocaleString(language()), tenant, device, job].filter(Boolean).join(" · ");
  return make("li", {}, make("p", {}, message), make("p", { class: "quiet-text" }, about));
}

/** All tenants' jobs, with what an administrator can do to them. */
class JobList {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    this.onlyActive = true;
    /** How many pages are shown. */
    this.pages = 1;
    this.busy = false;
    /** @type {Map<string, JobRow>} */
    this.rows = new Map();
    this.body = make("tbody");
    this.notice = make("p", { class: "quiet-text" });
    this.more = make("button", { type: "button", hidden: true, onclick: () => this.show(this.pages + 1) }, _("Show more"));
    this.grid = this.table();
    this.element = make("div", {}, this.filter(), this.grid, this.notice, this.more);
  }

  filter() {
    /** @param {boolean} onlyActive @param {string} text */
    const choice = (onlyActive, text) => {
      const change = () => {
        this.onlyActive = onlyActive;
        this.show(1);
      };
      const input = make("input", { type: "radio", name: "admin-filter", checked: onlyActive === this.onlyActive, onchange: change });
      return make("label", { class: "chip" }, input, make("span", {}, text));
    };
    return make("fieldset", { class: "chips" }, make("legend", { class: "visually-hidden" }, _("Show")), choice(true, _("In progress")), choice(false, _("All")));
  }

  table() {
    const heads = [_("Title"), _("Tenant"), _("State"), _("Progress"), _("Device"), _("Actions")];
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const label = _("Everybody's paintings");
    return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, make("table", { class: "jobs" }, make("thead", {}, head), this.body));
  }

  /** @param {number} pages */
  show(pages) {
    this.pages = pages;
    this.again = true;
    this.changed();
  }

  /** Fetches the list again, unless that is being done. */
  async changed() {
    if (this.busy) return;
    this.busy = true;
    try {
      do {
        this.again = false;
        await this.fetch();
      } while (this.again);
    } catch (error) {
      if (!this.signal.aborted) this.notice.textContent = errorText(error);
    } finally {
      this.busy = false;
    }
  }

  async fetch() {
    /** @type {TenantJob[]} */
    const jobs = [];
    let pageToken = "";
    for (let page = 0; page < this.pages; page += 1) {
      const request = { pageSize: PAGE_SIZE, pageToken, states: this.onlyActive ? ACTIVE : [] };
      const answer = await call("Admin/ListAllJobs", request, { signal: this.signal });
      jobs.push(...(answer.jobs ?? []));
      pageToken = answer.nextPageToken ?? "";
      if (!pageToken) break;
    }
    if (this.again) return;
    this.more.hidden = !pageToken;
    this.notice.textContent = jobs.length ? "" : _("Nobody paints now.");
    this.grid.hidden = !jobs.length;
    this.draw(jobs);
  }

  /** Keeps the rows that are there already, so that the focus stays where it is. @param {TenantJob[]} jobs */
  draw(jobs) {
    const rows = jobs.map((job) => {
      const name = job.job?.name ?? "";
      const row = this.rows.get(name) ?? new JobRow(name);
      row.draw(job);
      return row;
    });
    this.rows = new Map(rows.map((row) => [row.name, row]));
    const elements = rows.map((row) => row.element);
    if (elements.length !== this.body.children.length || elements.some((element, index) => element !== this.body.children[index])) {
      this.body.replaceChildren(...elements);
    }
  }
}

class JobRow {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.title = make("th", { scope: "row" });
    this.tenant = make("td");
    this.state = make("td");
    this.progress = make("progress", { max: "1", value: 0 });
    this.percent = make("span");
    this.device = make("td");
    this.pause = this.button("pause", "PauseAnyJob", _("Pause"));
    this.resume = this.button("play", "ResumeAnyJob", _("Resume"));
    this.hold = this.button("lock", "HoldJob", _("Hold"));
    this.release = this.button("check", "ReleaseJob", _("Release"));
    this.cancel = this.button("stop", "CancelAnyJob", _("Cancel"));
    this.error = make("p", { class: "field-error", role: "alert" });
    const actions = make("div", { class: "actions" }, this.pause, this.resume, this.hold, this.release, this.cancel);
    this.element = make("tr", {}, this.title, this.tenant, this.state, make("td", { class: "share" }, this.progress, this.percent), this.device, make("td", {}, actions, this.error));
  }

  /** @param {Parameters<typeof icon>[0]} picture @param {string} method @param {string} label */
  button(picture, method, label) {
    return make("button", { type: "button", class: "quiet", onclick: () => void this.act(method) }, icon(picture), label);
  }

  /** @param {TenantJob} tenantJob */
  draw({ tenant, job = {} }) {
    const { progress } = job;
    const final = isFinal(job);
    const paused = job.state === "JOB_STATE_PAUSED";
    const share = progress?.evaluations ? (progress.evaluation ?? 0) / progress.evaluations : 0;
    const percent = _("{percent} %", { percent: Math.floor(100 * share) });
    const [title, who] = [job.title || _("Untitled"), tenant || _("everybody")];
    for (const [element, text] of /** @type {[HTMLElement, string][]} */ ([
      [this.title, title],
      [this.tenant, who],
      [this.state, job.held ? _("Held") : stateWord(job.state)],
      [this.percent, final ? "" : percent],
      [this.device, job.device ?? ""],
    ])) {
      if (element.textContent !== text) element.textContent = text;
    }
    this.progress.hidden = final;
    this.progress.value = share;
    this.progress.setAttribute("aria-label", `${title}: ${percent}`);
    this.pause.hidden = final || paused;
    this.resume.hidden = !paused || Boolean(job.held);
    this.hold.hidden = final || Boolean(job.held);
    this.release.hidden = !job.held;
    this.cancel.hidden = final;
    for (const button of [this.pause, this.resume, this.hold, this.release, this.cancel]) {
      button.setAttribute("aria-label", `${button.textContent}: ${title}`);
    }
    this.owner = who;
  }

  /** @param {string} method Of the service Admin. */
  async act(method) {
    if (method === "CancelAnyJob") {
      const question = _("Cancel “{title}” of {tenant}?", { title: this.title.textContent ?? "", tenant: this.owner ?? "" });
      if (!(await ask(question, _("What is painted so far is lost."), _("Cancel the painting"), _("Go on painting")))) return;
    }
    this.error.textContent = "";
    try {
      this.draw(await call(`Admin/${method}`, { name: this.name }));
    } catch (error) {
      this.error.textContent = errorText(error);
    }
  }
}
