mod answers;
mod routing;
mod rules;
mod service;
