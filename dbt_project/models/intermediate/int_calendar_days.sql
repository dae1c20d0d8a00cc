{{ config(materialized="table") }}

{% set first_day = "cast('" ~ var("calendar_from") ~ "' as date)" %}
{% set end_day = "cast('" ~ var("calendar_until") ~ "' as date)" %}

with

    days as ({{ dbt.date_spine("day", first_day, end_day) }}),

    sales as (

        select min(local_date) as first_sale_date, max(local_date) as last_sale_date
        from {{ ref("int_local_days") }}
        where local_date >= {{ first_day }} and local_date < {{ end_day }}

    ),

    bounds as (

        select
            cast({{ dbt.date_trunc("year", "coalesce(first_sale_date, current_date)") }} as date) as from_date,
            cast(
                {{ dbt.date_trunc("year", dbt.dateadd("year", 2, "coalesce(last_sale_date, current_date)")) }} as date
            ) as until_date
        from sales

    ),

    final as (

        select cast(days.date_day as date) as date_day
        from days
        inner join
            bounds
            on cast(days.date_day as date) >= bounds.from_date
            and cast(days.date_day as date) < bounds.until_date

    )

select *
from final
