with

    facts as (

        select count(*) as line_count, sum(sales_amount) as sales_amount, sum(net_amount) as net_amount
        from {{ ref("fct_sales") }}

    ),

    aggregates as (

        select
            'metric_sales_hourly' as name,
            sum(line_count) as line_count,
            sum(sales_amount) as sales_amount,
            sum(net_amount) as net_amount
        from {{ ref("metric_sales_hourly") }}
        union all
        select 'fct_sales_monthly' as name, sum(line_count), sum(sales_amount), sum(net_amount)
        from {{ ref("fct_sales_monthly") }}

    )

select aggregates.*
from aggregates
cross join facts
where
    coalesce(aggregates.line_count, 0) <> facts.line_count
    or aggregates.sales_amount is distinct from facts.sales_amount
    or aggregates.net_amount is distinct from facts.net_amount
